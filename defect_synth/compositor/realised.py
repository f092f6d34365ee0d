"""What really changed: the mask of a painted image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

VISIBLE = 3.0  # grey levels
_SHARE = 0.08  # of a defect's strong changes: below, it is its fading edge


def levels(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float32]:
    """Largest change of a pixel's colours, in grey levels of 255: float32 [h, w].

    Args:
        before: [h, w], [h, w, 1] or [h, w, 3]; uint8, or float in [0, 1].
        after: Of the same shape and type.
    """
    difference = cv2.absdiff(np.ascontiguousarray(after), np.ascontiguousarray(before))
    change: NDArray[Any] = np.reshape(difference, before.shape)  # OpenCV drops an axis of one channel
    if change.ndim == 3:
        change = np.maximum.reduce([change[..., k] for k in range(change.shape[2])])  # much faster than over the axis
    return change.astype(np.float32) * np.float32(1.0 if before.dtype == np.uint8 else 255.0)


def realised_mask(change: NDArray[np.float32]) -> Pixels:
    """Where a change [h, w] in grey levels can be seen: uint8 [h, w] in {0, 1}.

    A pixel counts from 3 grey levels, or from 8 % of the strong changes where that is more. Gaps, of a pixel or in
    large defects of some, are closed where anything changed at all.
    """
    seen = change[change > 1]
    if not seen.size:
        return np.zeros(change.shape, np.uint8)
    mask = (change >= max(VISIBLE, _SHARE * float(np.percentile(seen, 95)))).astype(np.uint8)
    # Inside a large defect some pixels are by chance what they were before; they belong to it all the same.
    gap = int(np.clip(2 * round(float(np.sqrt(mask.sum())) / 40) + 1, 3, 15))
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap, gap)))
    # The mask must not claim what is not there.
    return np.asarray(closed & (change >= 0.5), np.uint8)


def near_agreement(one: Pixels, other: Pixels) -> float:
    """Share of both masks that lies on the other or beside it, 0..1; 0 where one is empty.

    A line of one or two pixels has more edge than inside: a soft edge halves its intersection over union, and says
    nothing about whether it is where it should be.
    """
    a, b = (one > 0).astype(np.uint8), (other > 0).astype(np.uint8)
    if not a.any() or not b.any():
        return 0.0
    beside = np.ones((3, 3), np.uint8)
    met = int((a & cv2.dilate(b, beside)).sum()) + int((b & cv2.dilate(a, beside)).sum())
    return met / (int(a.sum()) + int(b.sum()))
