"""The frame of a product in an image: its centre, its radius and how far each pixel is from its border."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError


class ProductFrame(NamedTuple):
    """Centroid (y, x) of a product and the radius of a disc with the same area, in pixels.

    Positions and sizes of defects are measured from the centroid in units of the radius, so that they can be carried
    from one image to another. The frame has no angle: see `Symmetry` for products that may be turned.
    """

    y: float
    x: float
    radius: float


def product_frame(foreground: NDArray[np.bool_]) -> ProductFrame:
    """The frame of the product that a foreground mask [H, W] marks.

    Raises:
        DataError: The foreground is empty.
    """
    moments = cv2.moments(foreground.astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    if not area:
        raise DataError("the foreground is empty: there is no product to put a defect on; pass a mask that marks it")
    return ProductFrame(moments["m01"] / area, moments["m10"] / area, max(1.0, float(np.sqrt(area / np.pi))))


def distance_to_border(foreground: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Distance of each pixel of the product to the nearest pixel off it, float32 [H, W] in pixels.

    It is 0 off the product and 1 along its border. The border of the image is not a border of the product; the
    distance is infinite where the product fills the image.
    """
    if foreground.all():
        return np.full(foreground.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(foreground.astype(np.uint8), cv2.DIST_L2, 5), np.float32)
