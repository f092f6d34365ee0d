"""Where the product is in an image, when nobody says."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels


def outline_of(image: Pixels) -> NDArray[np.bool_]:
    """Where the product is: what differs from a background of one colour, or everything where there is none.

    Args:
        image: uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    small_side = 256 / max(height, width)
    size = (max(1, round(width * small_side)), max(1, round(height * small_side)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    edge = max(1, round(min(size) * 0.02))
    border = np.concatenate([
        small[:edge].reshape(-1, 3), small[-edge:].reshape(-1, 3),
        small[:, :edge].reshape(-1, 3), small[:, -edge:].reshape(-1, 3),
    ])  # fmt: skip
    colour = np.median(border, axis=0)
    spread = float(np.median(np.abs(border - colour).max(axis=1)))
    distance = np.abs(small - colour).max(axis=2)
    everything = np.ones((height, width), bool)
    if spread > 16:
        return everything
    limit, _ = cv2.threshold(distance.clip(0, 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    there = (distance > max(float(limit) * 0.6, 3 * spread + 6)).astype(np.uint8)
    there = cv2.morphologyEx(there, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    there = cv2.morphologyEx(there, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(there, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(there)
    large = [c for c in contours if cv2.contourArea(c) > 0.02 * there.size]
    cv2.drawContours(filled, large, -1, 1, cv2.FILLED)
    share = float(filled.mean())
    on_border = np.concatenate([filled[0], filled[-1], filled[:, 0], filled[:, -1]]).mean()
    if not 0.03 <= share <= 0.97 or on_border > 0.5:
        return everything
    out: NDArray[np.bool_] = cv2.resize(filled, (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)
    return out
