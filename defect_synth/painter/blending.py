"""Blending of a painted colour into an image, strictly inside a mask. Not in the paper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

Floats = NDArray[np.float32]

_BLUR = 0.8  # pixels of the image, standard deviation of the blur of a lens


def blend(image: Pixels, mask: Pixels, colour: Floats, opacity: Floats) -> Pixels:
    """Blend a colour into an image inside a mask; all other pixels are those of the image.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] in {0, 1}, not empty.
        colour: Signal, [H, W, 3].
        opacity: How much the colour covers, 0 to 1, [H, W, 1].
    """
    inside = mask > 0
    background = image[inside].astype(np.float32)
    weight = opacity[inside] * soften_border(mask)[inside][:, None]
    blended = background + weight * ((colour[inside] + 1) * 127.5 - background)
    out = image.copy()
    out[inside] = np.rint(blended.clip(0, 255)).astype(np.uint8)
    return out


def soften_border(mask: Pixels) -> Floats:
    """How much of each pixel a mask [H, W] (not empty) covers as seen by a lens: slightly below 1 along its border.

    A lens blurs every real border, so one that ends between two pixels looks pasted. Each pixel is compared with its
    neighbours, so lines as thin as the blur keep their strength.
    """
    x, y, width, height = cv2.boundingRect(mask)
    out = np.zeros(mask.shape, np.float32)
    box = (slice(max(0, y - 4), y + height + 4), slice(max(0, x - 4), x + width + 4))
    blurred = cv2.GaussianBlur(mask[box].astype(np.float32), (0, 0), _BLUR, borderType=cv2.BORDER_REPLICATE)
    out[box] = blurred / np.maximum(cv2.dilate(blurred, np.ones((3, 3), np.uint8)), 1e-6)
    return out


def extend_values(values: Floats, mask: Pixels) -> Floats:
    """Repeat the values [H, W, C] inside a mask [H, W] up to two pixels beyond its border, 0 further out.

    Enlarging the result does not mix in what lies outside the mask.
    """
    weight = mask.astype(np.float32)
    values = values.reshape(*mask.shape, -1) * weight[:, :, None]
    total = cv2.blur(values, (5, 5)).reshape(values.shape)
    share = cv2.blur(weight, (5, 5))[:, :, None]
    out: Floats = np.where(weight[:, :, None] > 0, values, total / np.maximum(share, 1e-6))
    return out
