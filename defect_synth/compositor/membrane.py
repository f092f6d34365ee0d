"""The smoothest sheet through given values on an outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float32]

_SIDE = 96  # of the grid it is solved on: the sheet is smooth, and its error there is under a grey level
_COARSEST = 8
_SWEEPS = 12  # at each size
_NEIGHBOURS = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32) / 4


def membrane(values: Real, inside: NDArray[np.bool_]) -> Real:
    """The harmonic function that equals `values` around `inside`; at the window's own border it is free.

    Args:
        values: [h, w, 3]; read next to `inside` only.
        inside: bool [h, w].

    Returns:
        [h, w, 3], meant for `inside`; 0 where nothing surrounds it.
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
    sheet = _solved(known)
    return np.asarray(cv2.resize(sheet, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _solved(known: Real) -> Real:
    """Coarse to fine: each size starts from the one below, so a few sweeps reach everywhere.

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
        start = cv2.resize(_solved(half), (width, height), interpolation=cv2.INTER_LINEAR)
    sheet = np.where(fixed, given, start).astype(np.float32)
    hold = np.ascontiguousarray(np.broadcast_to(fixed, sheet.shape))
    for _ in range(_SWEEPS):
        sheet = cv2.filter2D(sheet, -1, _NEIGHBOURS, borderType=cv2.BORDER_REPLICATE)
        np.copyto(sheet, given, where=hold)
    return sheet
