"""Accept uint8 and float images, grey or RGB: check them, work on them as float32 RGB 0..255, and convert back."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.image_region import Box
from defect_synth.errors import DataError
from defect_synth.samples import Pixels, unit_to_pixels

SMALLEST = 16


def require_image(image: Any) -> NDArray[Any]:
    """Return the image unchanged if a defect can be painted on it.

    Raises:
        DataError: It is not uint8 or float in [0, 1], not [H, W], [H, W, 1] or [H, W, 3], smaller than 16 pixels a
            side, or contains NaN or infinite values.
    """
    if not isinstance(image, np.ndarray):
        raise DataError(f"expected an image as a NumPy array, got {type(image).__name__}; use np.asarray(image)")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
        raise DataError(f"expected an image [H, W], [H, W, 1] or [H, W, 3], got {list(image.shape)}; drop alpha")
    if min(image.shape[:2]) < SMALLEST:
        raise DataError(
            f"expected at least {SMALLEST} pixels a side, got {image.shape[1]}x{image.shape[0]}; enlarge it"
        )
    if image.dtype == np.uint8:
        return image
    if image.dtype not in (np.float32, np.float64):
        raise DataError(f"expected a uint8 or float image, got {image.dtype}; convert it to uint8")
    low, high = float(image.min()), float(image.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # NaN survives both min and max
        raise DataError("the image has NaN or infinite values; replace them before painting")
    if low < 0 or high > 1:
        raise DataError(f"expected float images in [0, 1], got {low:.3g} to {high:.3g}; paint before any normalisation")
    return image


def thumbnail(image: NDArray[Any], side: int) -> Pixels:
    """A copy as uint8 RGB [h, w, 3] whose longer side is at most `side` pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return to_rgb(image)


def to_rgb(image: NDArray[Any]) -> Pixels:
    """Convert any accepted image to uint8 RGB [H, W, 3]."""
    if image.dtype != np.uint8:
        image = unit_to_pixels(image)
    if image.ndim == 2:
        image = image[..., None]
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def window(image: NDArray[Any], box: Box) -> NDArray[np.float32]:
    """The pixels in `box` (y0, x0, y1, x1) as float32 [h, w, 3] in 0..255."""
    part = image[box[0] : box[2], box[1] : box[3]]
    values = part.astype(np.float32) * np.float32(1.0 if image.dtype == np.uint8 else 255.0)
    if values.ndim == 2:
        values = values[..., None]
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


def like(image: NDArray[Any], values: NDArray[np.float32]) -> NDArray[Any]:
    """Convert `values` (float32 [h, w, 3] in 0..255) to the dtype, range and channels of `image`."""
    if image.ndim == 2:
        values = values.mean(axis=2)
    elif image.shape[2] == 1:
        values = values.mean(axis=2, keepdims=True)
    if image.dtype == np.uint8:  # rounds half to even and clips in one pass over memory
        return np.reshape(cv2.add(np.ascontiguousarray(values), (0, 0, 0, 0), dtype=cv2.CV_8U), values.shape)
    return (np.clip(values, 0, 255) / 255).astype(image.dtype)
