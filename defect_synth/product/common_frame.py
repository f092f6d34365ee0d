"""Parts carried into their own frame, in which all of them lie the same way: pictures and masks to compare."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.pose import UNMOVED, Movement, Part, PartPose
from defect_synth.samples import Pixels

_OUTERMOST = 0.002  # share of the pixels of all parts that may lie beyond the picture: those of parts in a wrong pose
_MARGIN = 0.25  # of the mean side of the picture, around the parts: defects overhang
_ELONGATED = (
    1.3  # standard deviation along a part over that across it, above which it is turned to lie across a picture
)
_POINTS = 400  # pixels of a part that are looked at


@dataclass(frozen=True)
class CommonFrame:
    """A rectangle of the part's own frame that is shown as a picture.

    Attributes:
        turn: From the part's own frame to the picture.
        centre: What is shown in the middle, (y, x) in radii after `turn`.
        half: Half the height and the width of what is shown, in radii.
    """

    turn: Movement
    centre: tuple[float, float]
    half: tuple[float, float]

    @classmethod
    def around(cls, parts: Iterable[Part], *, upright: bool) -> CommonFrame:
        """The rectangle that holds all parts.

        Args:
            parts: At least one.
            upright: Keep parts as they lie in the image instead of turning long ones to lie across the picture.
        """
        points = np.concatenate([_points(part) for part in parts])
        turn = UNMOVED if upright else _across(points)
        y, x = turn.apply_all(points)
        low, high = (np.quantile([y, x], share, axis=1) for share in (_OUTERMOST, 1 - _OUTERMOST))
        half = np.maximum((high - low) / 2, 1e-3)
        half = half + _MARGIN * float(np.sqrt(half.prod()))
        middle = (low + high) / 2
        return cls(turn, (float(middle[0]), float(middle[1])), (float(half[0]), float(half[1])))

    def size(self, longest: int) -> tuple[int, int]:
        """Height and width of a picture whose longer side is `longest`."""
        scale = longest / max(self.half)
        return max(1, round(self.half[0] * scale)), max(1, round(self.half[1] * scale))

    def carry(self, image: Pixels, pose: PartPose, longest: int, outside: int | None = None) -> Pixels:
        """The part of an image [H, W, 3] or [H, W] as a picture whose longer side is `longest`.

        Args:
            image: uint8.
            pose: How the part lies in it.
            longest: In pixels.
            outside: Grey level of what lies beyond the image; None: the border of the image goes on.
        """
        scale = longest / 2 / max(self.half) / pose.frame.radius
        if scale < 1:  # reduced by area first, against aliasing
            side = max(image.shape[:2])
            size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
            image, pose = cv2.resize(image, size, interpolation=cv2.INTER_AREA), pose.resized(max(size) / side)
        border = cv2.BORDER_REPLICATE if outside is None else cv2.BORDER_CONSTANT
        level = 0 if outside is None else outside
        return np.asarray(
            cv2.warpAffine(
                image, self._affine(pose, longest), self.size(longest)[::-1], borderMode=border,
                borderValue=(level, level, level),
            ),
            np.uint8,
        )  # fmt: skip

    def carry_mask(self, mask: Pixels, pose: PartPose, longest: int) -> Pixels:
        """The same for a mask [H, W] of 0 and 1; one that is not empty vanishes only if it lies beyond the picture."""
        seen = self.carry(mask * np.uint8(255), pose, longest, outside=0)
        return np.asarray(seen > min(127, int(seen.max()) // 2), np.uint8)

    def _affine(self, pose: PartPose, longest: int) -> NDArray[np.float64]:
        """From pixels (x, y) of an image to those of a picture, [2, 3]."""
        height, width = self.size(longest)
        scale = longest / 2 / max(self.half)
        corners = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)]  # of the part's own frame
        there = np.array([pose.to_image(*corner)[::-1] for corner in corners], np.float32)
        turned = np.array([self.turn.apply(*corner) for corner in corners])
        middle = np.array([(height - 1) / 2, (width - 1) / 2])
        here = ((turned - self.centre) * scale + middle)[:, ::-1].astype(np.float32)
        return np.asarray(cv2.getAffineTransform(there, np.ascontiguousarray(here)), np.float64)


def _points(part: Part) -> NDArray[np.float64]:
    """Some pixels of a part in its own frame, (y, x) in radii: [n, 2]."""
    ys, xs = np.nonzero(part.foreground)
    some = np.linspace(0, len(ys) - 1, min(_POINTS, len(ys))).astype(int)
    frame = part.pose.frame
    offsets = np.stack([(ys[some] - frame.y) / frame.radius, (xs[some] - frame.x) / frame.radius], axis=1)
    return np.stack(part.pose.movement.inverse().apply_all(offsets), axis=1)


def _across(points: NDArray[np.float64]) -> Movement:
    """By how much parts must be turned so that long ones lie across the picture."""
    values, vectors = np.linalg.eigh(np.cov(points.T))
    if values[1] < _ELONGATED**2 * values[0]:
        return UNMOVED
    y, x = vectors[:, 1]
    return Movement(float((np.pi / 2 - np.arctan2(x, y)) % np.pi))
