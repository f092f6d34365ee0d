"""Registration of a donor's mask to the mask it is fitted to, so that a donor follows a mask of another curvature.

A donor that is only rotated and scaled covers part of a curved scratch, and the rest would have to be made up. Both
masks are turned into signed distances to their borders, and the displacement between them is found by the demons
algorithm (Thirion 1998): every point moves along the gradient of the distance in proportion to the difference, and the
displacement is smoothed after each step. Not in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

Floats = NDArray[np.float32]

_GRID = 40  # points along the longer side of the registered part: outlines need no more
_STEPS = 16
_MIN_SMOOTHING = 1.6  # grid points, standard deviation
_STIFFNESS = 0.7  # smoothing over the greatest depth of the masks: a wire bends, a blot with a pattern must not smear
_MAX_DISTANCE = 5.0  # grid points from a border beyond which distances are all equal
_MARGIN = 6  # pixels around both masks


@dataclass(frozen=True, eq=False)
class Displacement:
    """Where to read each pixel of a part of an image.

    Attributes:
        rows: Rows of the part.
        columns: Columns of the part.
        field: Offset (x, y) in pixels from each pixel of the part to where it is read, float32 [h, w, 2].
    """

    rows: slice
    columns: slice
    field: Floats

    def apply(self, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        """Warped copies of an image [H, W, 3] and its mask [H, W] in {0, 1}; unchanged outside the part."""
        ys, xs = np.mgrid[self.rows, self.columns].astype(np.float32)
        xs, ys = xs + self.field[:, :, 0], ys + self.field[:, :, 1]
        warped, warped_mask = image.copy(), mask.copy()
        warped[self.rows, self.columns] = cv2.remap(image, xs, ys, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        warped_mask[self.rows, self.columns] = cv2.remap(mask * np.uint8(255), xs, ys, cv2.INTER_LINEAR) > 127
        return warped, warped_mask


def register(target: Pixels, moving: Pixels) -> Displacement | None:
    """The displacement that makes one mask agree with another.

    Args:
        target: uint8 [H, W] in {0, 1}, not empty.
        moving: The mask to warp, uint8 [H, W] in {0, 1}, at about the same position and size.

    Returns:
        The displacement, or None if the masks are equal or `moving` is empty.
    """
    x, y, width, height = cv2.boundingRect(target | moving)
    rows = slice(max(0, y - _MARGIN), min(target.shape[0], y + height + _MARGIN))
    columns = slice(max(0, x - _MARGIN), min(target.shape[1], x + width + _MARGIN))
    target, moving = target[rows, columns], moving[rows, columns]
    if not moving.any() or (target == moving).all():
        return None
    shape = target.shape
    scale = min(1.0, _GRID / max(shape))
    grid = max(4, round(shape[1] * scale)), max(4, round(shape[0] * scale))
    target_distance, moving_distance = _signed_distance(target, grid, scale), _signed_distance(moving, grid, scale)
    points = np.stack(np.meshgrid(np.arange(grid[0]), np.arange(grid[1])), axis=2).astype(np.float32)
    fixed = target_distance.clip(-_MAX_DISTANCE, _MAX_DISTANCE)
    moved_from = moving_distance.clip(-_MAX_DISTANCE, _MAX_DISTANCE)
    smoothing = max(_MIN_SMOOTHING, _STIFFNESS * min(float(target_distance.max()), float(moving_distance.max())))
    gradients = [cv2.Sobel(fixed, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1))]
    squared = gradients[0] ** 2 + gradients[1] ** 2 + np.float32(1e-3)
    gradient = cv2.merge(gradients)
    field = np.zeros_like(points)
    for _ in range(_STEPS):
        moved = cv2.remap(moved_from, points + field, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        difference = fixed - moved
        step = gradient * (difference / (squared + np.float32(0.25) * difference * difference))[:, :, None]
        field = cv2.GaussianBlur(field + step, (0, 0), smoothing)
    full: Floats = cv2.resize(field, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) / np.float32(scale)
    return Displacement(rows, columns, full)


def _signed_distance(mask: Pixels, grid: tuple[int, int], scale: float) -> Floats:
    """Signed distance to the border of a mask in grid points, positive inside: float32 on a grid (width, height)."""
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, 3)
    distance = ((inside - outside) * scale).astype(np.float32)
    out: Floats = cv2.resize(distance, grid, interpolation=cv2.INTER_AREA)
    return out
