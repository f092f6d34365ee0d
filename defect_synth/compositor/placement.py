"""Where a recorded defect goes in the given image, as an affine map from its image to that one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.area import Box
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels

Map = NDArray[np.float64]  # 2 x 3
Frame = tuple[float, float, float]
"""Middle (y, x) and radius of an object, in pixels."""

_WOBBLE = 2.0  # degrees, standard deviation: no two parts lie exactly alike
_JITTER = 0.02  # radii of the object
_ABOUT_ONE = (0.7, 1.5)  # scales at which single pixels may be taken as they are
_LINE = 1.6  # pixels from edge to middle, up to which a defect is a line
_STRETCH = 3.0  # how much a recorded defect may be drawn out to fill a mask that the user drew


@dataclass(frozen=True)
class Pose:
    """How a defect is turned, mirrored, scaled and moved.

    Attributes:
        angle: Degrees, counter-clockwise.
        flip: Mirror left and right first.
        scale: Target pixels per source pixel.
        centre: (x, y) in the target of the middle of the defect's box.
    """

    angle: float
    flip: bool
    scale: float
    centre: tuple[float, float]

    def affine(self, box: Box) -> Map:
        """2 x 3 map of source to target pixel coordinates; `box` (y0, x0, y1, x1) is the defect's in the source."""
        linear = self.scale * _turn(self.angle, self.flip)
        middle = np.array(_middle(box))
        return np.hstack([linear, (np.array(self.centre) - linear @ middle)[:, None]])


def free_pose(symmetry: Symmetry, scale: float, centre: tuple[float, float], rng: np.random.Generator) -> Pose:
    """At `centre`, turned and mirrored only as the product may be."""
    angle, flip = _movement(symmetry, rng)
    return Pose(angle, flip, scale, centre)


def aligned_pose(
    symmetry: Symmetry, scale: float, box: Box, recorded: Frame, here: Frame, rng: np.random.Generator
) -> Pose:
    """Where it was on the object that it was recorded on, or at a place that the product's symmetry makes equal."""
    angle, flip = _movement(symmetry, rng)
    x, y = _middle(box)
    offset = np.array([x - recorded[1], y - recorded[0]]) / recorded[2]
    moved = _turn(angle, flip) @ offset + rng.normal(0, _JITTER, 2)
    return Pose(angle, flip, scale, (float(here[1] + here[2] * moved[0]), float(here[0] + here[2] * moved[1])))


def _movement(symmetry: Symmetry, rng: np.random.Generator) -> tuple[float, bool]:
    kinds = symmetry.num_rotations
    angle = float(rng.uniform(0, 360)) if symmetry.turns == "any" else 360 / kinds * int(rng.integers(kinds))
    flip = bool(rng.integers(2)) if symmetry.mirror_x or symmetry.mirror_y else False
    if flip and not symmetry.mirror_x:
        angle += 180  # top and bottom exchanged is left and right exchanged, half a turn later
    wobble = 0.0 if symmetry.turns == "any" else float(rng.normal(0, _WOBBLE))
    return (angle + wobble) % 360, flip


def fitted(drawn: Pixels, recorded: Pixels, rng: np.random.Generator) -> Map:
    """The map that lays the recorded mask's ellipse of inertia on that of a mask that the user drew."""
    (there, spread_there), (here, spread_here) = _inertia(recorded), _inertia(drawn)
    axes_there, axes_here = np.linalg.eigh(spread_there), np.linalg.eigh(spread_here)
    ratio = np.sqrt(np.maximum(axes_here[0], 0.3) / np.maximum(axes_there[0], 0.3))
    ratio = np.maximum(ratio, ratio.max() / _STRETCH)
    sign = rng.choice([-1.0, 1.0], 2)
    linear = axes_here[1] @ np.diag(ratio * sign) @ axes_there[1].T
    return np.hstack([linear, (here - linear @ there)[:, None]])


def scale_of(affine: Map) -> float:
    """Target pixels per source pixel."""
    return math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))


def target_box(affine: Map, box: Box, margin: float, shape: tuple[int, int]) -> Box:
    """The part (y0, x0, y1, x1) of a target of `shape` that the mapped `box` and `margin` pixels around it cover."""
    y0, x0, y1, x1 = box
    corners = np.array([[x0, y0], [x1 - 1, y0], [x0, y1 - 1], [x1 - 1, y1 - 1]], float)
    mapped = corners @ affine[:, :2].T + affine[:, 2]
    low, high = np.floor(mapped.min(axis=0) - margin), np.ceil(mapped.max(axis=0) + margin) + 1
    left, right = np.clip([low[0], high[0]], 0, shape[1])
    top, bottom = np.clip([low[1], high[1]], 0, shape[0])
    return int(top), int(left), int(bottom), int(right)


def sampling(mask: Pixels, affine: Map, box: Box) -> int:
    """How a defect's look is read between the source's pixels (a flag of OpenCV's): so that it keeps its contrast.

    Between the pixels of a line of one or two, any average takes in the surface beside it: turned bilinearly, cracks
    lose a third of their contrast. So lines take the nearest pixel, and all else is cubic.
    """
    if _ABOUT_ONE[0] <= scale_of(affine) <= _ABOUT_ONE[1]:
        tight = np.pad((mask[box[0] : box[2], box[1] : box[3]] > 0).astype(np.uint8), 1)
        if float(cv2.distanceTransform(tight, cv2.DIST_L2, 3).max()) * scale_of(affine) <= _LINE:
            return int(cv2.INTER_NEAREST)
    return int(cv2.INTER_CUBIC)


def warp(
    source: Pixels, affine: Map, box: Box, window: Box, *, outside: int | None = None, how: int = cv2.INTER_LINEAR
) -> NDArray[np.float32]:
    """`source` around `box` seen in the `window` of the target; float32, averaged where it shrinks.

    Only what can be seen of `source` is read. Beyond its border it is mirrored, or `outside` where that is given.
    Read cubically, values may go a little beyond those of `source`.
    """
    scale = scale_of(affine)
    margin = math.ceil((8 + 6 / min(scale, 1.0)) + 0.15 * max(box[2] - box[0], box[3] - box[1]))
    y0, x0 = max(0, box[0] - margin), max(0, box[1] - margin)
    part = source[y0 : box[2] + margin, x0 : box[3] + margin].astype(np.float32)
    if scale < 0.7:
        part = cv2.GaussianBlur(part, (0, 0), 0.4 / scale)  # what would fold over goes first
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ (x0, y0) - (window[1], window[0])
    size = (window[3] - window[1], window[2] - window[0])
    border = cv2.BORDER_REFLECT_101 if outside is None else cv2.BORDER_CONSTANT
    seen = cv2.warpAffine(part, moved, size, flags=how, borderMode=border, borderValue=outside or 0)
    return np.asarray(seen, np.float32)


def _turn(angle: float, flip: bool) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[c, s], [-s, c]]) @ np.diag([-1.0 if flip else 1.0, 1.0])


def _middle(box: Box) -> tuple[float, float]:
    return (box[1] + box[3] - 1) / 2, (box[0] + box[2] - 1) / 2


def _inertia(mask: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = cv2.moments((mask > 0).astype(np.uint8), binaryImage=True)
    area = found["m00"]
    cross = found["mu11"] / area
    middle = np.array([found["m10"] / area, found["m01"] / area])
    return middle, np.array([[found["mu20"] / area, cross], [cross, found["mu02"] / area]])
