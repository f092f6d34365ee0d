"""Quality check of a painting: are its colours and its detail those of real defects? Not in the paper."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_WIDENING = 0.4  # of the range of the real defects, on each side: a handful does not show all
_MIN_WIDENING = 8.0  # grey levels
_MIN_DEVIATION = 0.5  # deviation of brightness over the least of a real defect: below it, a painting is a flat blob
_MIN_PIXELS = 16  # off the border of a mask, enough to measure detail
_DETAIL_OF_DONOR = 0.9  # share of a donor's detail that a free painting in its place should have
_NO_DETAIL = 50.0  # excess of a painting without any detail, in grey levels


def colour_statistics(image: Pixels, mask: Pixels) -> list[float]:
    """Five statistics of an image [H, W, 3] inside a mask [H, W] (not empty), in grey levels.

    Mean red, green and blue, standard deviation of brightness, and mean brightness inside less that just outside.
    """
    inside = mask > 0
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    margin = 4
    box = (slice(max(0, ys[0] - margin), ys[-1] + margin + 1), slice(max(0, xs[0] - margin), xs[-1] + margin + 1))
    crop, inside = image[box].astype(np.float32), inside[box]
    around = (cv2.dilate(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~inside
    brightness = crop.mean(axis=2)
    colours = crop[inside]
    outside = float(brightness[around].mean()) if around.any() else float(brightness[inside].mean())
    return [
        *(float(v) for v in colours.mean(axis=0)),
        float(brightness[inside].std()),
        float(brightness[inside].mean()) - outside,
    ]


def fine_detail(image: Pixels, mask: Pixels) -> float:
    """Share of the contrast of an image [H, W, 3] inside a mask [H, W] (not empty) that is fine detail.

    Mean absolute difference of brightness from itself blurred by one pixel, over its standard deviation: a smear has
    little, however strong its contrast. The border of the mask is left out where enough pixels remain.
    """
    x, y, width, height = cv2.boundingRect(mask)
    box = (slice(max(0, y - 4), y + height + 4), slice(max(0, x - 4), x + width + 4))
    brightness = image[box].astype(np.float32).mean(axis=2)
    crop = np.ascontiguousarray(mask[box])
    inner = cv2.erode(crop, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = (inner if int(inner.sum()) >= _MIN_PIXELS else crop) > 0
    fine = np.abs(brightness - cv2.GaussianBlur(brightness, (0, 0), 1.0))
    return float(fine[inside].mean() / max(float(brightness[inside].std()), 1e-3))


class PaintingLimits:
    """The range of the real defects of a category, slightly widened, in which paintings of it should lie.

    Args:
        statistics: `colour_statistics` of each real defect, at least one.
        details: `fine_detail` of each real defect.
    """

    def __init__(self, statistics: Sequence[Sequence[float]], details: Sequence[float]) -> None:
        values = np.asarray(statistics, np.float64)
        low, high = values.min(axis=0), values.max(axis=0)
        widening = np.maximum((high - low) * _WIDENING, _MIN_WIDENING)
        self._low, self._high = low - widening, high + widening
        self._low[3] = min(low[3] * _MIN_DEVIATION, values[:, 3].mean())
        self._least_detail = min(details)

    def excess(self, statistics: Sequence[float]) -> float:
        """How far the `colour_statistics` of a painting lie outside the range, in grey levels; 0 if inside."""
        values = np.asarray(statistics, np.float64)
        outside: NDArray[np.float64] = np.maximum(np.maximum(self._low - values, values - self._high), 0)
        return float(outside.sum())

    def blur(self, detail: float, donor_detail: float) -> float:
        """How much `fine_detail` a free painting lacks, in grey levels; 0 if it has enough.

        Enough is what the most blurred real defect has, and most of what a donor has in the same mask, since detail
        depends on the shape as well.

        Args:
            detail: `fine_detail` of the painting.
            donor_detail: `fine_detail` of a donor fitted to the same mask; 0 if there is none.
        """
        return _NO_DETAIL * max(0.0, 1 - detail / max(self._least_detail, _DETAIL_OF_DONOR * donor_detail))
