"""Which donor suits a mask, and in which pose.

A donor suits if its shape is like the mask's and what surrounds it in its own image is like what surrounds the mask. A
chip from the rim of a bottle thus lies on the rim again, without anybody saying what a rim is. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.painter.window import resample
from defect_synth.product.exemplar import Exemplar
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]
Costs = NDArray[np.float64]
"""How badly each donor pose suits a view and its mask: [poses]."""

_GRID = 24  # pixels along a side of a descriptor
_REACH = 3.0  # half the side of a descriptor, in radii of gyration of the defect
_SHAPE_WEIGHT, _SURROUNDINGS_WEIGHT, _SIZE_WEIGHT = 0.5, 3.0, 0.25
_MAX_SIZE_COST = 2.0  # of the logarithm of the ratio of radii
_GOOD_COVERAGE = 0.8  # share of a mask that a donor should cover; what it does not cover has to be made up
_SIMILAR_COST = 0.12  # donors whose cost exceeds the best by less are as likely as the best, for variety
_TWO_DONORS_PROB = 0.5
_SIMILAR_COLOUR = 35.0  # grey levels by which the mean colours of two combined donors may differ
_SEAM_SHARPNESS = 2.5


class MaskGeometry(NamedTuple):
    """Centroid (y, x) and radius of gyration of a mask, in pixels."""

    y: float
    x: float
    radius: float


def mask_geometry(mask: Pixels) -> MaskGeometry:
    """Centroid and radius of gyration of a mask [H, W] that is not empty."""
    moments = cv2.moments(mask, binaryImage=True)
    area = max(moments["m00"], 1.0)
    variance = max((moments["mu20"] + moments["mu02"]) / area, 1.0)
    return MaskGeometry(moments["m01"] / area, moments["m10"] / area, float(np.sqrt(variance)))


@dataclass(frozen=True)
class DonorPose:
    """A donor, rotated and possibly mirrored.

    Attributes:
        donor: Index of the donor.
        angle: Rotation in radians.
        flip: Whether it is mirrored left and right first.
    """

    donor: int
    angle: float
    flip: bool

    def matrix(self, source: MaskGeometry, target: MaskGeometry, scale: float) -> Floats:
        """Affine map, 2 x 3, from pixels (x, y) of the target to those of the donor's image.

        Args:
            source: Geometry of the donor's mask.
            target: Geometry of the mask that the donor is fitted to.
            scale: Size of the donor in the target over its size in its own image.
        """
        cos, sin = np.cos(self.angle) / scale, np.sin(self.angle) / scale
        sign = -1.0 if self.flip else 1.0
        linear = np.array([[sign * cos, sign * sin], [-sin, cos]])
        shift = np.array([source.x, source.y]) - linear @ np.array([target.x, target.y])
        out: Floats = np.concatenate([linear, shift[:, None]], axis=1).astype(np.float32)
        return out


@dataclass(frozen=True, eq=False)
class DonorChoice:
    """Indices of one donor pose, or of two and a coarse map of where the first shows (1) and where the second (0)."""

    first: int
    second: int | None
    seam: Floats


class DonorMatcher:
    """Compares donors in all their poses with a mask and its surroundings.

    Args:
        donors: At least one.
        num_rotations: Number of rotations in which a donor may lie: 24, 4, 2 or 1.
        can_mirror: Whether a donor may be mirrored.
    """

    def __init__(self, donors: Sequence[Exemplar], *, num_rotations: int, can_mirror: bool) -> None:
        self.geometries = [mask_geometry(donor.mask) for donor in donors]
        self.poses = [
            DonorPose(k, 2 * np.pi * turn / num_rotations, flip)
            for k in range(len(donors))
            for flip in ((False, True) if can_mirror else (False,))
            for turn in range(num_rotations)
        ]
        self._donor_of_pose = np.array([pose.donor for pose in self.poses])
        self._radii = np.array([geometry.radius for geometry in self.geometries])
        self._colours = np.stack([donor.image[donor.mask > 0].mean(axis=0) for donor in donors])
        centre = MaskGeometry(_GRID / 2 - 0.5, _GRID / 2 - 0.5, 1.0)
        images, masks = [], []
        for pose in self.poses:
            source, donor = self.geometries[pose.donor], donors[pose.donor]
            matrix = pose.matrix(source, centre, (_GRID / 2 / _REACH) / source.radius)
            images.append(resample(donor.image, matrix, _GRID).reshape(-1, 3).astype(np.float32) / 255)
            masks.append(resample(donor.mask * np.uint8(255), matrix, _GRID).ravel().astype(np.float32) / 255)
        self._masks = np.stack(masks)
        self._areas = self._masks.sum(axis=1)
        self._outside = 1 - np.minimum(1, self._masks * 2)
        # The squared difference (a - b)^2 outside both masks is one product of terms of a, which are known beforehand,
        # and terms of b, which a view brings.
        colours, outside = np.stack(images), self._outside
        products = (outside[:, :, None] * colours).reshape(len(masks), -1)
        self._terms = np.concatenate([outside * (colours**2).sum(axis=2), -2 * products, outside], axis=1)

    def costs(self, view: Pixels, mask: Pixels) -> Costs:
        """How badly each pose suits a view [S, S, 3] and its mask [S, S] (not empty): float64 [poses]."""
        target = mask_geometry(mask)
        shape = _describe(mask * np.uint8(255), target).ravel().astype(np.float32) / 255
        colours = _describe(view, target).reshape(-1, 3).astype(np.float32) / 255
        intersection = np.minimum(self._masks, shape[None]).sum(axis=1)
        union = self._areas + shape.sum() - intersection
        shape_cost = 1 - intersection / np.maximum(union, 1e-6)
        outside = 1 - np.minimum(1, shape * 2)
        weight = _matvec(self._outside, outside) + 1e-3
        terms = (outside, (outside[:, None] * colours).ravel(), outside * (colours**2).sum(axis=1))
        squared_difference = _matvec(self._terms, np.concatenate(terms))
        surroundings_cost = np.sqrt(np.maximum(squared_difference, 0) / weight / 3)
        size_cost = np.abs(np.log(target.radius / self._radii))  # an enlarged speck is no stain
        coverage = intersection / max(float(shape.sum()), 1e-6)
        bare_cost = np.maximum(_GOOD_COVERAGE - coverage, 0)  # a wire is no donor for a blot
        cost: Costs = (
            shape_cost * _SHAPE_WEIGHT
            + bare_cost
            + _SURROUNDINGS_WEIGHT * surroundings_cost
            + _SIZE_WEIGHT * np.minimum(size_cost, _MAX_SIZE_COST)[self._donor_of_pose]
        )
        return cost

    def select(self, costs: Costs, rng: np.random.Generator) -> DonorChoice:
        """Choose at random among the donors that suit almost as well as the best, each in its best pose.

        In half of the cases part of the defect comes from a second donor of about the same colour, which gives a
        defect that nobody has seen.
        """
        best = np.full(len(self.geometries), np.inf)  # of each donor, over its poses
        np.minimum.at(best, self._donor_of_pose, costs)
        good = np.flatnonzero(best <= best.min() + _SIMILAR_COST)
        first = int(good[int(rng.integers(len(good)))])
        similar = np.abs(self._colours - self._colours[first]).max(axis=1) < _SIMILAR_COLOUR
        others = [int(k) for k in np.flatnonzero(best <= best.min() + 2 * _SIMILAR_COST) if k != first and similar[k]]
        # All numbers are drawn in any case, so that the next ones do not depend on the donors.
        combine, pick, seam = rng.random(), rng.random(), rng.normal(0, 1, (5, 5)).astype(np.float32)
        if not others or combine >= _TWO_DONORS_PROB:
            return DonorChoice(self._best_pose(first, costs), None, seam)
        second = others[int(pick * len(others))]
        return DonorChoice(self._best_pose(first, costs), self._best_pose(second, costs), seam * _SEAM_SHARPNESS + 0.5)

    def _best_pose(self, donor: int, costs: Costs) -> int:
        poses = np.flatnonzero(self._donor_of_pose == donor)
        return int(poses[np.argmin(costs[poses])])


def _describe(array: NDArray[np.uint8], target: MaskGeometry) -> NDArray[np.uint8]:
    """The descriptor of a view or mask around a mask: [24, 24, ...]."""
    step = _REACH * target.radius / (_GRID / 2)
    offset = _GRID / 2 - 0.5
    matrix = np.array([[step, 0, target.x - step * offset], [0, step, target.y - step * offset]], np.float32)
    return resample(array, matrix, _GRID)


def _matvec(matrix: Floats, vector: Floats) -> Floats:
    """`matrix @ vector` on this thread: BLAS threads would wait for each other longer than this takes."""
    out: Floats = np.einsum("ij,j->i", matrix, vector)
    return out
