"""Edits that turn one mask into another: warping, taking a part, biting into the border, uniting two."""

from __future__ import annotations

import cv2
import numpy as np

from defect_synth.samples import Pixels

_BITE_CORNERS = 9
_SMALLEST_PART = 8  # pixels of a mask below which it is not divided
_SMALLEST_BITTEN = 30  # pixels of a mask below which nothing is bitten out of it


def warp_mask(mask: Pixels, angle: float, flip: bool, scale: float, elastic: float, rng: np.random.Generator) -> Pixels:
    """Mirror, rotate, scale and bend a mask.

    Args:
        mask: uint8 [h, w] in {0, 1}.
        angle: Rotation in radians; a point at offset (y, x) moves to (y cos - x sin, y sin + x cos).
        flip: Mirror left and right before rotating.
        scale: Size of the result over that of `mask`.
        elastic: Standard deviation of the bending, as a share of the size of the result; 0: no bending.
        rng: Draws the bending.

    Returns:
        uint8 [side, side] in {0, 1} with the centre of `mask` at its centre.
    """
    height, width = mask.shape
    reach = float(np.hypot(height, width)) * scale / 2
    side = 2 * int(np.ceil(reach * (1 + 3 * elastic) + 2)) + 1
    centre = (side - 1) / 2
    source = mask.astype(np.float32)
    if scale < 0.8:
        # A thin line would fall between the pixels of a smaller mask: shrink by area, with a low threshold.
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(source, size, interpolation=cv2.INTER_AREA)
        source = (small > 0.25).astype(np.float32)
        scale = 1.0
    source = cv2.copyMakeBorder(source, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    ys, xs = np.mgrid[0:side, 0:side].astype(np.float32)
    dy, dx = ys - centre, xs - centre
    if elastic > 0:
        grid = rng.normal(0, elastic, (2, 5, 5)).astype(np.float32) * (reach * 2)
        dy = dy + cv2.resize(grid[0], (side, side), interpolation=cv2.INTER_CUBIC)
        dx = dx + cv2.resize(grid[1], (side, side), interpolation=cv2.INTER_CUBIC)
    cos, sin = np.cos(angle), np.sin(angle)
    source_y, source_x = (dy * cos + dx * sin) / scale, (-dy * sin + dx * cos) / scale  # the inverse map
    if flip:
        source_x = -source_x
    source_y, source_x = source_y + (source.shape[0] - 1) / 2, source_x + (source.shape[1] - 1) / 2
    warped = cv2.remap(source, source_x.astype(np.float32), source_y.astype(np.float32), cv2.INTER_LINEAR)
    out: Pixels = (warped >= 0.5).astype(np.uint8)
    return out


def take_part(mask: Pixels, rng: np.random.Generator) -> Pixels:
    """Keep 40 to 80 percent of a mask: what lies on one side of a random line. Tiny masks are returned as they are."""
    ys, xs = np.nonzero(mask)
    if len(ys) < _SMALLEST_PART:
        return mask
    angle = rng.uniform(0, 2 * np.pi)
    along = ys * np.sin(angle) + xs * np.cos(angle)
    keep = along <= np.quantile(along, rng.uniform(0.4, 0.8))
    out = np.zeros_like(mask)
    out[ys[keep], xs[keep]] = 1
    return out


def bite(mask: Pixels, rng: np.random.Generator) -> Pixels:
    """Cut a ragged piece out of the border of a mask, of which at least a third is kept."""
    if int(mask.sum()) < _SMALLEST_BITTEN:
        return mask
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    ys, xs = np.nonzero((mask > 0) & (cv2.erode(padded, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0))
    i = int(rng.integers(len(ys)))
    radius = np.sqrt(float(mask.sum()) / np.pi) * rng.uniform(0.3, 0.8)
    angles = np.arange(_BITE_CORNERS) * (2 * np.pi / _BITE_CORNERS) + rng.uniform(0, 2 * np.pi)
    reach = radius * rng.uniform(0.4, 1.3, _BITE_CORNERS)
    polygon = np.stack([xs[i] + reach * np.cos(angles), ys[i] + reach * np.sin(angles)], axis=1)
    out = mask.copy()
    cv2.fillPoly(out, [np.rint(polygon).astype(np.int32)], 0)
    return out if 3 * int(out.sum()) > int(mask.sum()) else mask


def unite(mask: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """The union of two square masks, the second centred on a random pixel of the first."""
    side = mask.shape[0] + other.shape[0]
    canvas = np.zeros((side, side), np.uint8)
    centre = (side - 1) / 2
    stamp(canvas, mask, centre, centre)
    ys, xs = np.nonzero(canvas)
    if not len(ys):
        return mask
    i = int(rng.integers(len(ys)))
    stamp(canvas, other, float(ys[i]), float(xs[i]))
    return canvas


def stamp(canvas: Pixels, mask: Pixels, y: float, x: float) -> None:
    """Add `mask`, its centre at (y, x), to `canvas` in place; what lies off the canvas is left out."""
    top, left = round(y - (mask.shape[0] - 1) / 2), round(x - (mask.shape[1] - 1) / 2)
    height, width = canvas.shape
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(height, top + mask.shape[0]), min(width, left + mask.shape[1])
    if y1 > y0 and x1 > x0:
        canvas[y0:y1, x0:x1] |= mask[y0 - top : y1 - top, x0 - left : x1 - left]
