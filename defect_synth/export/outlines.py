"""Convert masks to polygons and run lengths that reproduce the same pixels."""

from __future__ import annotations

import cv2
import numpy as np

from defect_synth.samples import Pixels

_FINE = 4  # outlines are traced on a grid finer by this factor, so that they run around the pixel centres
Ring = list[tuple[float, float]]


def polygons(mask: Pixels) -> list[Ring]:
    """Polygons that together contain the centre of every defect pixel and of no other pixel.

    A component with a hole is cut in two through the hole, since most formats do not support holes.

    Args:
        mask: uint8 [H, W], 1 on the defect.

    Returns:
        Rings of (x, y) in pixels; the centre of the first pixel is at (0.5, 0.5).
    """
    rings: list[Ring] = []
    count, labels = cv2.connectedComponents(mask, connectivity=4)
    for label in range(1, count):
        rings += _outline((labels == label).astype(np.uint8), 0, 0)
    return rings


def _outline(part: Pixels, top: int, left: int) -> list[Ring]:
    y0, x0, height, width = _box(part)
    part = part[y0 : y0 + height, x0 : x0 + width]
    top, left = top + y0, left + x0
    hole = _hole(part)
    if hole is not None:
        # Cut through the hole. Each half may have several components and further holes.
        rings: list[Ring] = []
        for half, offset in ((part[: hole + 1], 0), (part[hole + 1 :], hole + 1)):
            count, labels = cv2.connectedComponents(np.ascontiguousarray(half), connectivity=4)
            for label in range(1, count):
                rings += _outline((labels == label).astype(np.uint8), top + offset, left)
        return rings
    fine = np.kron(part, np.ones((_FINE, _FINE), np.uint8))
    contours, _ = cv2.findContours(np.pad(fine, 1), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    ring = contours[0][:, 0].astype(float) - 1
    return [[(left + (x + 0.5) / _FINE, top + (y + 0.5) / _FINE) for x, y in ring]]


def _box(part: Pixels) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(part)
    return y, x, height, width


def _hole(part: Pixels) -> int | None:
    """A row through a hole of `part`, or None if there is no hole."""
    padded = np.pad(part, 1)
    # The outlines of OpenCV join pixels that touch at a corner, so a hole that is open only at a corner counts as one.
    count, labels = cv2.connectedComponents(1 - padded, connectivity=4)
    outside = labels[0, 0]
    for label in range(1, count):
        if label != outside:
            rows = np.flatnonzero((labels == label).any(axis=1)) - 1
            return min(int(rows[len(rows) // 2]), int(part.shape[0]) - 2)
    return None


def run_lengths(mask: Pixels) -> list[int]:
    """Uncompressed COCO run-length encoding: lengths down the columns, starting with background."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def box(mask: Pixels) -> tuple[int, int, int, int]:
    """Tight box (x, y, width, height) of a mask, as COCO defines it."""
    x, y, width, height = cv2.boundingRect(mask)
    return int(x), int(y), int(width), int(height)
