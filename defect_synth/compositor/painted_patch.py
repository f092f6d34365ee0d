"""Let a painter paint one defect, and keep the window around it with what can be seen."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor import pixels
from defect_synth.compositor.paste import VISIBLE_CHANGE, VISIBLE_SEVERITY, DefectPatch, keep_visible
from defect_synth.samples import DefectPainter, Pixels

_KEPT = 0.6  # smallest share of a scaled mask that must remain inside the allowed region


def paint_patch(
    painter: DefectPainter, image: NDArray[Any], mask: Pixels, defect: str, seed: int, severity: float
) -> DefectPatch | None:
    """Paint a defect and return the window of `mask` with it, or None if it would hardly be visible.

    Args:
        painter: The painter.
        image: uint8 or float in [0, 1], [H, W], [H, W, 1] or [H, W, 3].
        mask: uint8 [H, W] in {0, 1}, not empty.
        defect: One of the painter's defects.
        seed: Passed to the painter.
        severity: Above 0; 1 keeps the change that the painter made, other values scale it.
    """
    rgb = pixels.to_rgb(image)
    painted = painter.paint(rgb, mask, defect, seed)
    x, y, width, height = cv2.boundingRect(mask)
    box = (y, x, y + height, x + width)
    before = image[y : y + height, x : x + width]
    change = pixels.window(painted, box) - pixels.window(rgb, box)
    after = pixels.like(image, pixels.window(image, box) + np.float32(severity) * change)
    patch, changed = keep_visible(box, before, after)
    if not patch.mask.any() or (
        severity >= VISIBLE_SEVERITY and float(changed[patch.mask > 0].mean()) < VISIBLE_CHANGE
    ):
        return None
    return patch


def scale_mask(mask: Pixels, scale: float, inside: NDArray[np.bool_]) -> Pixels | None:
    """Scale `mask` [H, W] about the centre of its box and clip it to `inside`; None if too much would be clipped."""
    if scale == 1:
        return mask
    x, y, width, height = cv2.boundingRect(mask)
    centre = (x + (width - 1) / 2, y + (height - 1) / 2)
    affine = cv2.getRotationMatrix2D(centre, 0, scale)
    large = cv2.warpAffine(mask * np.uint8(255), affine, mask.shape[::-1], flags=cv2.INTER_LINEAR)
    whole = np.asarray(large > 127, np.uint8)
    clipped = whole & inside.astype(np.uint8)
    wanted = float(mask.sum()) * scale**2
    return np.asarray(clipped, np.uint8) if clipped.sum() >= _KEPT * wanted else None
