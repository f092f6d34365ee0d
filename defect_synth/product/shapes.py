"""Shapes of real defect masks, measured relative to the product that they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.frame import distance_to_border, product_frame
from defect_synth.product.pose import UNMOVED, Movement, PartPose
from defect_synth.samples import Pixels

CUT_OFF = 0.8
"""Assumed share of a defect that is visible where the border of the image cuts it off."""

_OVERHANGING = 0.05  # share of a mask off the product below which the annotator was just not exact


@dataclass(frozen=True, eq=False)
class DefectShape:
    """The mask of one real defect, relative to the product it lies on.

    Attributes:
        mask: uint8 [h, w] in {0, 1}: the bounding box of the mask.
        offset: From the centre of the product to the centre of the box, (y, x), in radii of the product.
        radius: Radius of the product, in pixels of `mask`; see `ProductFrame`.
        inside: Share of the defect that lies on the product and in the image, 0 to 1.
        margin: Smallest distance of the mask to the border of the product, in radii; 0 if the mask reaches the
            border, at most 1.
        overhang: Distance off the product that 95 % of the part of the mask off it keep to, in radii; 0 if (nearly) all
            of the mask lies on the product.
        movement: From the product's own frame to the image that the mask was drawn in; the identity for products
            that lie alike, or whose pose is not known.
        located: Whether the pose is known, so that `offset` and `movement` mean something for other images.
    """

    mask: Pixels
    offset: tuple[float, float]
    radius: float
    inside: float
    margin: float = 0.0
    overhang: float = 0.0
    movement: Movement = UNMOVED
    located: bool = True

    @classmethod
    def of(cls, mask: Pixels, foreground: NDArray[np.bool_], pose: PartPose | None = None) -> DefectShape:
        """Measure the mask of a whole image on its product.

        Args:
            mask: uint8 [H, W] in {0, 1}, not empty.
            foreground: Where the product is, or where it would be without the defect, bool [H, W].
            pose: How the product lies; None: like all others.

        Raises:
            DataError: The foreground is empty.
        """
        frame = product_frame(foreground) if pose is None else pose.frame
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
        offset = (
            ((top + bottom - 1) / 2 - frame.y) / frame.radius,
            ((left + right - 1) / 2 - frame.x) / frame.radius,
        )
        inside = float(foreground[mask > 0].mean())
        if top == 0 or left == 0 or bottom == mask.shape[0] or right == mask.shape[1]:
            inside *= CUT_OFF
        margin = min(1.0, float(distance_to_border(foreground)[mask > 0].min()) / frame.radius)
        return cls(
            np.ascontiguousarray(mask[top:bottom, left:right]), offset, frame.radius, inside, margin,
            overhang=overhang(mask, foreground) / frame.radius,
            movement=UNMOVED if pose is None else pose.movement,
            located=pose is None or pose.is_reliable,
        )  # fmt: skip


def overhang(mask: Pixels, foreground: NDArray[np.bool_]) -> float:
    """How far a mask [H, W] leaves the product, in pixels: the distance that 95 % of its pixels off it keep to.

    It is 0 if next to nothing of the mask is off the product.
    """
    off = (mask > 0) & ~foreground
    if int(off.sum()) < _OVERHANGING * int(mask.sum()):
        return 0.0
    distance = cv2.distanceTransform((~foreground).astype(np.uint8), cv2.DIST_L2, 5)
    return float(np.quantile(distance[off], 0.95))


def solidity(mask: NDArray[Any]) -> float:
    """Area of a mask [H, W] (not empty) over the area of its convex hull: 1 for a disc, near 0 for a bent wire."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    hull = cv2.convexHull(points)
    # The points are centres of pixels, so their hull lacks half a pixel all around.
    hull_area = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, True) + 1
    return min(1.0, len(points) / hull_area)
