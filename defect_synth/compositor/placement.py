"""Poses of a recorded defect in the given image, as affine maps from its own image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.image_region import Box
from defect_synth.product.frame import ProductFrame
from defect_synth.product.pose import LooksAlike, PartPose
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels

Affine = NDArray[np.float64]  # 2 x 3

_WOBBLE = 2.0  # degrees, standard deviation: no two parts are placed at exactly the same angle
_JITTER = 0.02  # standard deviation of the position, in radii of the object
_ABOUT_ONE = (0.7, 1.5)  # scales at which nearest-neighbour sampling is acceptable
_LINE = 1.6  # largest depth in pixels of a defect that counts as a line
_STRETCH = 3.0  # largest ratio of the two scales when a defect is fitted to a mask drawn by the user


@dataclass(frozen=True)
class Pose:
    """How a defect is rotated, mirrored, scaled and moved.

    Attributes:
        angle: Degrees, counter-clockwise.
        flip: Whether it is first mirrored left to right.
        scale: Target pixels per source pixel.
        centre: Where the centre of the defect's box goes, (x, y) in the target.
    """

    angle: float
    flip: bool
    scale: float
    centre: tuple[float, float]

    def affine(self, box: Box) -> Affine:
        """The 2 x 3 map from source to target pixels; `box` (y0, x0, y1, x1) is the defect's box in the source."""
        linear = self.scale * _rotation(self.angle, self.flip)
        centre = np.array(_centre(box))
        return np.hstack([linear, (np.array(self.centre) - linear @ centre)[:, None]])


def free_pose(symmetry: Symmetry, scale: float, centre: tuple[float, float], rng: np.random.Generator) -> Pose:
    """A pose at `centre`, rotated and mirrored only as the symmetry of the product allows."""
    angle, flip = _random_symmetry(symmetry, rng)
    return Pose(angle, flip, scale, centre)


def aligned_pose(
    symmetry: Symmetry, scale: float, box: Box, recorded: ProductFrame, here: ProductFrame, rng: np.random.Generator
) -> Pose:
    """The recorded position relative to the object, or one that is equivalent under the symmetry of the product."""
    angle, flip = _random_symmetry(symmetry, rng)
    x, y = _centre(box)
    offset = np.array([x - recorded.x, y - recorded.y]) / recorded.radius
    moved = _rotation(angle, flip) @ offset + rng.normal(0, _JITTER, 2)
    return Pose(angle, flip, scale, (float(here.x + here.radius * moved[0]), float(here.y + here.radius * moved[1])))


def posed(
    there: PartPose, here: PartPose, looks_alike: LooksAlike, scale: float, box: Box, rng: np.random.Generator
) -> Pose:
    """The recorded place in the part's own frame, carried over to how the given part lies.

    Args:
        there: How the recorded part lies.
        here: How the given part lies.
        looks_alike: Turns in its own frame after which the part looks as before: one of them is drawn.
        scale: Target pixels per source pixel.
        box: The defect's box in the source.
        rng: Draws the turn, and small deviations.
    """
    turn = looks_alike.draw(rng)
    moved = here.movement.after(turn).after(there.movement.inverse())
    x, y = _centre(box)
    place = np.array(turn.apply(*there.to_frame(y, x))) + rng.normal(0, _JITTER, 2)
    to_y, to_x = here.to_image(float(place[0]), float(place[1]))
    return Pose(math.degrees(moved.angle) + float(rng.normal(0, _WOBBLE)), moved.flip, scale, (to_x, to_y))


def _random_symmetry(symmetry: Symmetry, rng: np.random.Generator) -> tuple[float, bool]:
    kinds = symmetry.num_rotations
    angle = float(rng.uniform(0, 360)) if symmetry.turns == "any" else 360 / kinds * int(rng.integers(kinds))
    flip = bool(rng.integers(2)) if symmetry.mirror_x or symmetry.mirror_y else False
    if flip and not symmetry.mirror_x:
        angle += 180  # flipping top to bottom is flipping left to right and half a turn
    wobble = 0.0 if symmetry.turns == "any" else float(rng.normal(0, _WOBBLE))
    return (angle + wobble) % 360, flip


def fit_to_mask(drawn: Pixels, recorded: Pixels, rng: np.random.Generator) -> Affine:
    """The map from the ellipse of inertia of the recorded mask to that of a mask drawn by the user."""
    (there, spread_there), (here, spread_here) = _inertia(recorded), _inertia(drawn)
    axes_there, axes_here = np.linalg.eigh(spread_there), np.linalg.eigh(spread_here)
    ratio = np.sqrt(np.maximum(axes_here[0], 0.3) / np.maximum(axes_there[0], 0.3))
    ratio = np.maximum(ratio, ratio.max() / _STRETCH)
    sign = rng.choice([-1.0, 1.0], 2)
    linear = axes_here[1] @ np.diag(ratio * sign) @ axes_there[1].T
    return np.hstack([linear, (here - linear @ there)[:, None]])


def scale_of(affine: Affine) -> float:
    """Target pixels per source pixel, the root of the determinant."""
    return math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))


def target_box(affine: Affine, box: Box, margin: float, shape: tuple[int, int]) -> Box:
    """The box (y0, x0, y1, x1) of the mapped `box` plus a margin in pixels, clipped to a target of `shape`."""
    y0, x0, y1, x1 = box
    corners = np.array([[x0, y0], [x1 - 1, y0], [x0, y1 - 1], [x1 - 1, y1 - 1]], float)
    mapped = corners @ affine[:, :2].T + affine[:, 2]
    low, high = np.floor(mapped.min(axis=0) - margin), np.ceil(mapped.max(axis=0) + margin) + 1
    left, right = np.clip([low[0], high[0]], 0, shape[1])
    top, bottom = np.clip([low[1], high[1]], 0, shape[0])
    return int(top), int(left), int(bottom), int(right)


def interpolation_for(mask: Pixels, affine: Affine, box: Box) -> int:
    """The OpenCV interpolation flag that keeps the contrast of a defect: nearest for thin lines, else cubic.

    A line is only one or two pixels wide, so every interpolated value mixes in the surface beside it: with bilinear
    interpolation cracks lose a third of their contrast.
    """
    if _ABOUT_ONE[0] <= scale_of(affine) <= _ABOUT_ONE[1]:
        tight = np.pad((mask[box[0] : box[2], box[1] : box[3]] > 0).astype(np.uint8), 1)
        if float(cv2.distanceTransform(tight, cv2.DIST_L2, 3).max()) * scale_of(affine) <= _LINE:
            return int(cv2.INTER_NEAREST)
    return int(cv2.INTER_CUBIC)


def warp(
    source: Pixels, affine: Affine, box: Box, window: Box, *, outside: int | None = None, how: int = cv2.INTER_LINEAR
) -> NDArray[np.float32]:
    """Warp `source` around `box` into the `window` of the target; float32, low-pass filtered where it shrinks.

    Only the pixels of `source` that are needed are read. Beyond its border it is mirrored, or has the value `outside`
    if that is given. With cubic interpolation, values may slightly exceed the range of `source`.
    """
    scale = scale_of(affine)
    margin = math.ceil((8 + 6 / min(scale, 1.0)) + 0.15 * max(box[2] - box[0], box[3] - box[1]))
    y0, x0 = max(0, box[0] - margin), max(0, box[1] - margin)
    part = source[y0 : box[2] + margin, x0 : box[3] + margin].astype(np.float32)
    if scale < 0.7:
        part = cv2.GaussianBlur(part, (0, 0), 0.4 / scale)  # against aliasing
    moved = affine.copy()
    moved[:, 2] += affine[:, :2] @ (x0, y0) - (window[1], window[0])
    size = (window[3] - window[1], window[2] - window[0])
    border = cv2.BORDER_REFLECT_101 if outside is None else cv2.BORDER_CONSTANT
    warped = cv2.warpAffine(part, moved, size, flags=how, borderMode=border, borderValue=outside or 0)
    return np.asarray(warped, np.float32)


def _rotation(angle: float, flip: bool) -> NDArray[np.float64]:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[c, s], [-s, c]]) @ np.diag([-1.0 if flip else 1.0, 1.0])


def _centre(box: Box) -> tuple[float, float]:
    return (box[1] + box[3] - 1) / 2, (box[0] + box[2] - 1) / 2


def _inertia(mask: Pixels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = cv2.moments((mask > 0).astype(np.uint8), binaryImage=True)
    area = found["m00"]
    cross = found["mu11"] / area
    middle = np.array([found["m10"] / area, found["m01"] / area])
    return middle, np.array([[found["mu20"] / area, cross], [cross, found["mu02"] / area]])
