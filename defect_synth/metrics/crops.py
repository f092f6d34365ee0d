"""Crops of defects with their surroundings: a small defect hardly changes a figure that is taken over whole images."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels


def crop_window(mask: Pixels, margin: float = 0.5, least: float = 0.125) -> tuple[int, int, int]:
    """Top, left and side of a square window around the defect, inside the image.

    Args:
        mask: uint8 [H, W] of 0 and 1. For an empty mask the window is the largest square in the middle, which shows
            the object.
        margin: Added on each side, as a share of the longer side of the defect's bounding box.
        least: Smallest side, as a share of the shorter side of the image. A few pixels enlarged to fill a crop would
            show nothing but interpolation.
    """
    height, width = mask.shape
    most = min(height, width)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (height - most) // 2, (width - most) // 2, most
    box = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = int(np.clip(round(box * (1 + 2 * margin)), max(1, round(least * most)), most))
    top = int(np.clip((rows[0] + rows[-1] + 1 - side) // 2, 0, height - side))
    left = int(np.clip((columns[0] + columns[-1] + 1 - side) // 2, 0, width - side))
    return top, left, side


def crop_defects(images: Pixels, masks: Pixels, size: int) -> tuple[Pixels, Pixels]:
    """Crop each image around its defect and resize the crops to the same size.

    Args:
        images: uint8 [N, H, W, 3].
        masks: uint8 [N, H, W] of 0 and 1.
        size: Side of the resized crops, in pixels.

    Returns:
        Images uint8 [N, size, size, 3] and masks uint8 [N, size, size].
    """
    crops = np.empty((len(images), size, size, 3), np.uint8)
    cut: NDArray[np.uint8] = np.empty((len(images), size, size), np.uint8)
    for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
        top, left, side = crop_window(mask)
        window = (slice(top, top + side), slice(left, left + side))
        how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
        crops[i] = cv2.resize(image[window], (size, size), interpolation=how)
        cut[i] = cv2.resize(mask[window], (size, size), interpolation=cv2.INTER_NEAREST)
    return crops, cut
