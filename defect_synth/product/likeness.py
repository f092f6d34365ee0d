"""How like the masks of real defects a mask is, whatever its position, size, rotation and mirroring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.mask_edits import warp_mask
from defect_synth.product.shapes import DefectShape

Floats = NDArray[np.float32]

_GRID = 24  # cells along a side of a descriptor
_REACH = 2.5  # half the side of a descriptor, in radii of gyration of the mask
_ROTATIONS = 24
_COPY = 0.8  # intersection over union with a real mask above which a mask counts as a copy of it
_COPY_AMONG_ALIKE = (
    0.98  # the same where real masks are as like each other: real holes are discs, a new disc is no copy
)


def descriptors(shapes: Sequence[DefectShape]) -> Floats:
    """Descriptors of real masks in 24 rotations, mirrored and not: float32 [n, 576], 0 to 1.

    A descriptor is the mask on a grid of 24 x 24 cells, centred and scaled by its radius of gyration.
    """
    rows = []
    unused = np.random.default_rng(0)  # nothing is bent
    for shape in shapes:
        size = max(24.0, min(96.0, float(max(shape.mask.shape))))
        scale = size / max(shape.mask.shape)
        for flip in (False, True):
            for turn in range(_ROTATIONS):
                turned = warp_mask(shape.mask, 2 * np.pi * turn / _ROTATIONS, flip, scale, 0.0, unused)
                if turned.any():
                    rows.append(_descriptor(turned))
    return np.stack(rows) if rows else np.zeros((0, _GRID**2), np.float32)


def likeness(mask: NDArray[Any], known: Floats) -> float:
    """Largest intersection over union of a mask [H, W] (not empty) with real ones; 1: it is a copy.

    Args:
        mask: Non-zero on the defect.
        known: `descriptors` of the real masks.
    """
    return float(_overlap(mask, known).max(initial=0.0))


@dataclass(frozen=True, eq=False)
class KnownMasks:
    """Real masks of one defect category, which a new mask must not copy.

    Attributes:
        descriptors: float32 [n, 576].
        limits: How like each of them a new mask may be, as intersection over union: [n].
    """

    descriptors: Floats
    limits: NDArray[np.float64]

    @classmethod
    def of(cls, shapes: Sequence[DefectShape]) -> KnownMasks:
        """Take each limit from how like the other real masks are to a real mask, within 0.8 to 0.98."""
        each = [descriptors([shape]) for shape in shapes]
        known, owner = np.concatenate(each), np.repeat(np.arange(len(each)), [len(rows) for rows in each])
        alike = [_overlap(shape.mask, known)[owner != k].max(initial=0.0) for k, shape in enumerate(shapes)]
        return cls(known, np.clip(np.asarray(alike, np.float64), _COPY, _COPY_AMONG_ALIKE)[owner])

    def excess(self, mask: NDArray[Any]) -> float:
        """By how much a mask (not empty) exceeds the limit of a real one; 0 if it is new."""
        return float(max(0.0, (_overlap(mask, self.descriptors) - self.limits).max(initial=0.0)))


def _descriptor(mask: NDArray[Any]) -> Floats:
    points = cv2.findNonZero(mask.astype(np.uint8)).reshape(-1, 2).astype(np.float32)
    xs, ys = points[:, 0], points[:, 1]
    y, x = ys.mean(), xs.mean()
    radius = max(1.0, float(np.sqrt(((ys - y) ** 2 + (xs - x) ** 2).mean())))
    index_y = np.round((ys - y) / (_REACH * radius) * (_GRID / 2) + (_GRID - 1) / 2).astype(int)
    index_x = np.round((xs - x) / (_REACH * radius) * (_GRID / 2) + (_GRID - 1) / 2).astype(int)
    inside = (index_y >= 0) & (index_y < _GRID) & (index_x >= 0) & (index_x < _GRID)
    counts = np.bincount(index_y[inside] * _GRID + index_x[inside], minlength=_GRID**2).astype(np.float32)
    cell = _REACH * radius / (_GRID / 2)
    out: Floats = np.minimum(1.0, counts / max(1.0, cell * cell))
    return out


def _overlap(mask: NDArray[Any], known: Floats) -> Floats:
    """Intersection over union of a mask (not empty) with each descriptor: [n]."""
    descriptor = _descriptor(mask)[None]
    intersection = np.minimum(known, descriptor).sum(axis=1)
    union = np.maximum(known, descriptor).sum(axis=1)
    out: Floats = intersection / np.maximum(union, 1e-6)
    return out
