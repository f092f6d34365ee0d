"""Bending one shape onto another, so that a donor follows a mask that is curved otherwise.

A donor that is only turned and scaled covers a curved scratch in part; the rest would have to be made up. Both shapes
are seen as signed distances to their borders, and the field that takes one to the other is found by Thirion's demons
(1998): each place moves along the slope of the distance by how much the two differ, and the field is smoothed.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

Floats = NDArray[np.float32]

_GRID = 40  # places along the longer side of what is bent: outlines need no more
_STEPS = 16
_SMOOTH = 1.6  # places, least standard deviation
_STIFF = 0.7  # of the greatest depth of the shape: a wire bends, a blot with a pattern would be smeared
_BAND = 5.0  # places from a border beyond which distances do not count
_AROUND = 6  # pixels


def bend(mask: Pixels, other: Pixels) -> tuple[slice, slice, Floats] | None:
    """Where in `other` to look for each pixel of `mask` so that the shapes agree.

    Args:
        mask: uint8 [H, W] of 0 and 1, not empty.
        other: Likewise, about in the same place.

    Returns:
        Rows and columns of the part that holds both, and for its pixels the way to go, float32 [h, w, 2] as (x, y);
        None where the shapes are alike or too small to bend.
    """
    x, y, width, height = cv2.boundingRect(mask | other)
    rows = slice(max(0, y - _AROUND), min(mask.shape[0], y + height + _AROUND))
    columns = slice(max(0, x - _AROUND), min(mask.shape[1], x + width + _AROUND))
    wanted, given = mask[rows, columns], other[rows, columns]
    if not given.any() or (wanted == given).all():
        return None
    size = wanted.shape
    scale = min(1.0, _GRID / max(size))
    grid = max(4, round(size[1] * scale)), max(4, round(size[0] * scale))
    target, source = _distance(wanted, grid, scale), _distance(given, grid, scale)
    here = np.stack(np.meshgrid(np.arange(grid[0]), np.arange(grid[1])), axis=2).astype(np.float32)
    near_target, near_source = target.clip(-_BAND, _BAND), source.clip(-_BAND, _BAND)
    smooth = max(_SMOOTH, _STIFF * min(float(target.max()), float(source.max())))
    slopes = [cv2.Sobel(near_target, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    steep = slopes[0] ** 2 + slopes[1] ** 2 + np.float32(1e-3)
    slope = cv2.merge(slopes)
    field = np.zeros_like(here)
    for _ in range(_STEPS):
        moved = cv2.remap(near_source, here + field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        apart = near_target - moved
        step = slope * (apart / (steep + np.float32(0.25) * apart * apart))[:, :, None]
        field = cv2.GaussianBlur(field + step, (0, 0), smooth)
    found: Floats = cv2.resize(field, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) / np.float32(scale)
    return rows, columns, found


def _distance(shape: Pixels, grid: tuple[int, int], scale: float) -> Floats:
    """Signed distance to the border in places of the grid, positive inside."""
    inside = cv2.distanceTransform(shape, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - shape, cv2.DIST_L2, 3)
    whole = ((inside - outside) * scale).astype(np.float32)
    out: Floats = cv2.resize(whole, grid, interpolation=cv2.INTER_AREA)
    return out
