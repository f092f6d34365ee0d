"""Interpolate values on an outline smoothly over the area inside it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

_SIDE = 96  # longer side of the grid: the solution is smooth, so a coarse grid errs by less than a grey level
_COARSEST = 8
_SWEEPS = 12  # Jacobi iterations on each grid
_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


def membrane(values: Real, inside: NDArray[np.bool_]) -> Real:
    """Solve Laplace's equation inside a mask, with `values` around the mask as boundary condition.

    The border of the window itself has no boundary condition.

    Args:
        values: float32 [h, w, 3]; only the pixels next to `inside` are read.
        inside: bool [h, w].

    Returns:
        float32 [h, w, 3], valid on `inside`; 0 everywhere if nothing surrounds it.
    """
    within = inside.astype(np.uint8)
    outline = (cv2.dilate(within, np.ones((3, 3), np.uint8)) - within).astype(np.float32)
    if not outline.any() or not within.any():
        return np.zeros_like(values)
    known = np.dstack([values * outline[..., None], outline])
    height, width = inside.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != (width, height):
        known = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    solution = _solve(known)
    return np.asarray(cv2.resize(solution, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _solve(known: Real) -> Real:
    """Solve from coarse to fine: each grid starts from the solution of the next coarser one, so a few sweeps suffice.

    Args:
        known: [h, w, 4], values times weight, and weight.
    """
    height, width = known.shape[:2]
    weight = known[..., 3:]
    fixed = weight > 0
    given = known[..., :3] / np.maximum(weight, 1e-12)
    if max(height, width) <= _COARSEST:
        start = np.broadcast_to(known[..., :3].sum(axis=(0, 1)) / weight.sum(), given.shape)
    else:
        half = cv2.resize(known, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        start = cv2.resize(_solve(half), (width, height), interpolation=cv2.INTER_LINEAR)
    solution = np.where(fixed, given, start).astype(np.float32)
    hold = np.ascontiguousarray(np.broadcast_to(fixed, solution.shape))
    for _ in range(_SWEEPS):
        solution = cv2.filter2D(solution, -1, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        np.copyto(solution, given, where=hold)
    return solution
