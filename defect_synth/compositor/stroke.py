"""A painter's defect in an image of any kind: one window, and what of it can be seen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor import pixels
from defect_synth.compositor.paste import SEEN, STRONG, Patch, settled
from defect_synth.samples import DefectPainter, Pixels

_KEPT = 0.6  # of the area asked for, at least


def stroke(
    painter: DefectPainter, image: NDArray[Any], mask: Pixels, defect: str, seed: int, severity: float
) -> Patch | None:
    """The window of `mask` with the defect in it; None where it would hardly be seen.

    Args:
        painter: What paints.
        image: uint8 or float in [0, 1], [H, W], [H, W, 1] or [H, W, 3].
        mask: uint8 [H, W] in {0, 1}, not empty.
        defect: One of the painter's.
        seed: Of the painter.
        severity: Above 0; 1: as the painter paints.
    """
    rgb = pixels.to_rgb(image)
    painted = painter.paint(rgb, mask, defect, seed)
    x, y, width, height = cv2.boundingRect(mask)
    box = (y, x, y + height, x + width)
    before = image[y : y + height, x : x + width]
    change = pixels.window(painted, box) - pixels.window(rgb, box)
    after = pixels.like(image, pixels.window(image, box) + np.float32(severity) * change)
    patch, changed = settled(box, before, after)
    if not patch.mask.any() or (severity >= STRONG and float(changed[patch.mask > 0].mean()) < SEEN):
        return None
    return patch


def resized(mask: Pixels, scale: float, inside: NDArray[np.bool_]) -> Pixels | None:
    """`mask` [H, W] at another size about the middle of its box, cut to `inside`; None where much would be cut off."""
    if scale == 1:
        return mask
    x, y, width, height = cv2.boundingRect(mask)
    middle = (x + (width - 1) / 2, y + (height - 1) / 2)
    affine = cv2.getRotationMatrix2D(middle, 0, scale)
    large = cv2.warpAffine(mask * np.uint8(255), affine, mask.shape[::-1], flags=cv2.INTER_LINEAR)
    whole = np.asarray(large > 127, np.uint8)
    held = whole & inside.astype(np.uint8)
    wanted = float(mask.sum()) * scale**2
    return np.asarray(held, np.uint8) if held.sum() >= _KEPT * wanted else None
