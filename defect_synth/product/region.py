"""A region that a user drew on one image of a part, carried over to other images by how their parts lie."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import ConfigError, DataError
from defect_synth.product.arrangement import Arrangement
from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import ProductFrame, product_frame
from defect_synth.product.pose import PartPose, part_of_mask
from defect_synth.samples import Pixels


class PartRegion:
    """A region of a part. Where parts lie alike, it keeps its position relative to their centre and size.

    Args:
        reference: Normal image that the region was drawn on, uint8 [H, W, 3].
        mask: Everything above 0 is the region, [H, W], not empty. Of several parts it belongs to the one that has most
            of it.
        arrangement: How the parts lie in their images.

    Raises:
        ConfigError: The arrangement is that of a texture, or of parts without a pose that could be told.
        DataError: `mask` is of another size, or how the part lies in the reference cannot be told.
    """

    def __init__(self, reference: Pixels, mask: NDArray[Any], arrangement: Arrangement) -> None:
        if arrangement.poses is None and not arrangement.symmetry.aligned:
            raise ConfigError(
                "a region can follow parts that lie alike or whose pose can be told, and those of this source do "
                "neither; leave region_of out: then the region is at the same place in every image"
            )
        if mask.shape != reference.shape[:2]:
            raise DataError(
                f"region is {list(mask.shape)}, the image that it was drawn on is {list(reference.shape[:2])}; draw it "
                "at the same size"
            )
        self._finder = arrangement.poses
        self._mask = (mask > 0).astype(np.uint8) * np.uint8(255)
        foreground = find_foreground(reference)
        if self._finder is None:
            self._is_whole, self._drawn_on = bool(foreground.all()), PartPose(product_frame(foreground))
            return
        self._drawn_on = part_of_mask(self._finder.find_all(reference, foreground), self._mask).pose
        if not self._drawn_on.is_reliable:
            raise DataError(
                "how the part lies in the image that the region was drawn on cannot be told (confidence "
                f"{self._drawn_on.confidence:.2f}); draw it on another normal image"
            )

    def in_image(
        self, image: Pixels, foreground: NDArray[np.bool_], shape: tuple[int, int] | None = None
    ) -> NDArray[np.bool_]:
        """Where the region is in an image: bool [H, W], on each part whose pose can be told; empty if there is none.

        Args:
            image: uint8 [H, W, 3].
            foreground: Where the parts are, bool [H, W].
            shape: Height and width of the result, for an image that is a smaller copy of another; None: of the image.
        """
        size = (image.shape[0], image.shape[1]) if shape is None else shape
        found = np.zeros(size, bool)
        if foreground.any():
            for pose in self._poses(image, foreground):
                moved = _movement(self._drawn_on, pose.resized(max(size) / max(image.shape[:2])))
                there = cv2.warpAffine(self._mask, moved, (size[1], size[0]), flags=cv2.INTER_LINEAR)
                found |= there > 127
        return found

    def _poses(self, image: Pixels, foreground: NDArray[np.bool_]) -> list[PartPose]:
        if self._finder is not None:
            return [part.pose for part in self._finder.find_all(image, foreground) if part.pose.is_reliable]
        if bool(foreground.all()) == self._is_whole:
            return [PartPose(product_frame(foreground))]
        # The part stands out in one of the two images only, so the images are compared as a whole.
        whole = product_frame(np.ones_like(foreground))
        return [PartPose(whole) if self._is_whole else self._as_in_reference(whole)]

    def _as_in_reference(self, here: ProductFrame) -> PartPose:
        """Where the part would be if it were as in the reference, relative to the whole image with this frame."""
        there = product_frame(np.ones(self._mask.shape, bool))
        scale, (y, x, radius) = here.radius / there.radius, self._drawn_on.frame
        return PartPose(ProductFrame(here.y + scale * (y - there.y), here.x + scale * (x - there.x), scale * radius))


def _movement(there: PartPose, here: PartPose) -> NDArray[np.float64]:
    """The affine map [2, 3] from the pixels (x, y) of one image to those of another, by how a part lies in both."""
    corners = (0.0, 0.0), (0.0, 1.0), (1.0, 0.0)
    start, end = (
        np.asarray([pose.to_image(*corner)[::-1] for corner in corners], np.float32) for pose in (there, here)
    )
    return np.asarray(cv2.getAffineTransform(start, end), np.float64)
