"""Which pixels of an image visibly changed: the mask of a painted or pasted defect."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

VISIBLE = 3.0  # grey levels from which a change can be seen
_SHARE = 0.08  # of a defect's strong changes; weaker ones are its fading edge


def grey_level_change(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float32]:
    """Largest change of any channel of each pixel, in grey levels (0..255): float32 [h, w].

    Args:
        before: [h, w], [h, w, 1] or [h, w, 3]; uint8, or float in [0, 1].
        after: The same shape and dtype.
    """
    difference = cv2.absdiff(np.ascontiguousarray(after), np.ascontiguousarray(before))
    change: NDArray[Any] = np.reshape(difference, before.shape)  # OpenCV drops an axis of one channel
    if change.ndim == 3:
        change = np.maximum.reduce([change[..., k] for k in range(change.shape[2])])  # much faster than over the axis
    return change.astype(np.float32) * np.float32(1.0 if before.dtype == np.uint8 else 255.0)


def visible_change_mask(change: NDArray[np.float32]) -> Pixels:
    """The mask of a visible defect, uint8 [h, w] in {0, 1}, from the change of each pixel in grey levels [h, w].

    A pixel belongs to the mask if it changed by 3 grey levels, and by 8 % of the 95th percentile of all changes. Small
    gaps are closed, but only over pixels that changed by at least half a grey level.
    """
    seen = change[change > 1]
    if not seen.size:
        return np.zeros(change.shape, np.uint8)
    mask = (change >= max(VISIBLE, _SHARE * float(np.percentile(seen, 95)))).astype(np.uint8)
    # Inside a large defect some pixels have almost their old value by chance; they belong to the defect all the same.
    gap = int(np.clip(2 * round(float(np.sqrt(mask.sum())) / 40) + 1, 3, 15))
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap)))
    # The mask must not include pixels that did not change.
    return np.asarray(closed & (change >= 0.5), np.uint8)


def tolerant_overlap(one: Pixels, other: Pixels) -> float:
    """Overlap of two masks [H, W] that tolerates one pixel: the share of both that lies on or next to the other, 0..1.

    It is 0 if one of the masks is empty. Intersection over union would be misleading for lines of one or two pixels,
    which have more edge than inside: a soft edge alone halves it.
    """
    a, b = (one > 0).astype(np.uint8), (other > 0).astype(np.uint8)
    if not a.any() or not b.any():
        return 0.0
    neighbours = np.ones((3, 3), np.uint8)
    shared = int((a & cv2.dilate(b, neighbours)).sum()) + int((b & cv2.dilate(a, neighbours)).sum())
    return shared / (int(a.sum()) + int(b.sum()))
