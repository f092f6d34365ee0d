"""Symmetry of a product: the rotations and mirrorings after which it still looks like itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

Floats = NDArray[np.float32]
Turns = Literal["any", "quarter", "half", "none"]
"""Rotations that leave a product looking like itself: all, multiples of 90 degrees, 180 degrees, or none."""

_NUM_ROTATIONS: dict[Turns, int] = {"any": 24, "quarter": 4, "half": 2, "none": 1}

_SIDE = 48  # of the mean image, in pixels
_EDGE_SIDE = 192  # of the images whose edges are measured, in pixels
_ORIENTATIONS = 18  # bins of 10 degrees
_TOLERANCE = 1.5  # a moved mean may differ from the mean by this many times the deviation of single images
_SAME_IMAGE, _SAME_ORIENTATIONS = 0.12, 0.12  # smallest tolerances: share of the structure, sum over all bins
_ALIGNED = 2.0  # structure of the mean image over the deviation of single images, above which products lie alike


@dataclass(frozen=True)
class Symmetry:
    """How a product may be moved and still look like itself.

    Attributes:
        turns: Rotations in the image plane.
        mirror_x: Left and right may be exchanged.
        mirror_y: Top and bottom may be exchanged.
        aligned: The product lies the same way in all images, so a position in one image means the same in all.
    """

    turns: Turns = "none"
    mirror_x: bool = False
    mirror_y: bool = False
    aligned: bool = True

    @property
    def num_rotations(self) -> int:
        """Number of equally spaced rotations to try, the identity included; 24 stand for any angle."""
        return _NUM_ROTATIONS[self.turns]

    @property
    def can_mirror(self) -> bool:
        """Whether the left-right mirror image, rotated as `turns` allows, is a view of the same product.

        Exchanging top and bottom is exchanging left and right followed by half a turn.
        """
        return self.mirror_x or (self.mirror_y and self.turns != "none")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values; `Symmetry(**values)` is the inverse."""
        return asdict(self)


def find_symmetry(images: Sequence[Pixels]) -> Symmetry:
    """Find the symmetry of a product in its normal images.

    A movement is allowed if two averages survive it: the mean image, which shows how aligned products lie, and the
    orientations of edges, which show the grain of a texture whose mean image is flat. Not in the paper.

    Args:
        images: uint8 [H, W, 3], RGB, at least one; sizes may differ.
    """
    average = _Average(images)
    turns: Turns = "none"
    if average.survives_rotation(180):
        turns = "half"
        if average.survives_rotation(90):
            turns = "any" if average.survives_rotation(40) and average.survives_rotation(70) else "quarter"
    return Symmetry(
        turns=turns,
        mirror_x=average.survives_mirroring(axis=1),
        mirror_y=average.survives_mirroring(axis=0),
        aligned=average.structure > _ALIGNED * average.spread,
    )


class _Average:
    """Mean of normal images and of their edge orientations, with the deviation of single images from it.

    Attributes:
        spread: Mean absolute deviation of single images from the mean image, in grey levels.
        structure: Mean absolute deviation of the mean image from its mean colour, in grey levels.
    """

    def __init__(self, images: Sequence[Pixels]) -> None:
        resized = [cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for image in images]
        small = np.stack(resized).astype(np.float32)
        self._mean = small.mean(axis=0)
        self.spread = float(np.abs(small - self._mean).mean())
        self.structure = float(np.abs(self._mean - self._mean.mean(axis=(0, 1))).mean())
        edges = [
            _edge_orientations(cv2.resize(image, (_EDGE_SIDE, _EDGE_SIDE), interpolation=cv2.INTER_AREA))
            for image in images
        ]
        self._orientations = np.mean(edges, axis=0)
        self._orientation_spread = float(np.mean([np.abs(e - self._orientations).sum() for e in edges]))

    def survives_rotation(self, degrees: int) -> bool:
        """Whether the averages look the same after a rotation by a multiple of 10 degrees."""
        centre = (_SIDE - 1) / 2
        matrix = cv2.getRotationMatrix2D((centre, centre), degrees, 1.0)
        moved = cv2.warpAffine(self._mean, matrix, (_SIDE, _SIDE), borderMode=cv2.BORDER_REPLICATE)
        compared = np.ones((_SIDE, _SIDE), bool)
        if degrees % 90:  # the corners leave the image
            ys, xs = np.mgrid[0:_SIDE, 0:_SIDE] - centre
            compared = np.hypot(ys, xs) < _SIDE / 2 - 1
        return self._looks_same(moved, np.roll(self._orientations, degrees // 10), compared)

    def survives_mirroring(self, axis: Literal[0, 1]) -> bool:
        """Whether the averages look the same with top and bottom (axis 0) or left and right (axis 1) exchanged."""
        mirrored_orientations = np.roll(self._orientations[::-1], 1)
        return self._looks_same(np.flip(self._mean, axis), mirrored_orientations, np.ones((_SIDE, _SIDE), bool))

    def _looks_same(self, moved: Floats, moved_orientations: Floats, compared: NDArray[np.bool_]) -> bool:
        difference = float(np.abs(moved - self._mean)[compared].mean())
        orientation_difference = float(np.abs(moved_orientations - self._orientations).sum())
        return difference <= max(_TOLERANCE * self.spread, _SAME_IMAGE * self.structure) and (
            orientation_difference <= max(_TOLERANCE * self._orientation_spread, _SAME_ORIENTATIONS)
        )


def _edge_orientations(image: Pixels) -> Floats:
    """Share of the edge strength of a square image [S, S, 3] in each orientation bin: float32 [18], sum 1."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    bins = (np.rad2deg(np.arctan2(-dy, dx)) % 180 / 10).astype(int) % _ORIENTATIONS
    ys, xs = np.mgrid[: grey.shape[0], : grey.shape[1]]
    # Only the inscribed disc: rotating a square moves its corners out of the image.
    disc = np.hypot(ys - (grey.shape[0] - 1) / 2, xs - (grey.shape[1] - 1) / 2) < grey.shape[0] / 2
    strength = np.bincount(bins[disc], np.hypot(dx, dy)[disc], minlength=_ORIENTATIONS).astype(np.float32)
    # Each bin is blurred into its neighbours, so that a tilt of a few degrees does not count as another grain.
    strength = strength + np.roll(strength, 1) + np.roll(strength, -1)
    return (strength / max(float(strength.sum()), 1e-6)).astype(np.float32)
