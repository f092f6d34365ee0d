"""Quality gate: a painting whose colours in the mask no real defect has, or that is blurred, is painted again."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_SLACK = 0.4  # of the range of the real ones, on each side: a handful does not show all
_LEAST = 8.0  # the same in grey levels
_INNER = 16  # pixels that are enough to judge detail by
_SHARP = 0.9  # share of a donor's detail
_BLUR = 50.0  # grey levels that a painting without any detail counts as


def statistics(image: Pixels, mask: Pixels) -> list[float]:
    """Mean red, green and blue in the mask, deviation of brightness there, and its step from the surroundings."""
    inside = mask > 0
    ys, xs = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    reach = 4
    window = (slice(max(0, ys[0] - reach), ys[-1] + reach + 1), slice(max(0, xs[0] - reach), xs[-1] + reach + 1))
    part, inside = image[window].astype(np.float32), inside[window]
    band = (cv2.dilate(inside.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0) & ~inside
    grey = part.mean(axis=2)
    colours = part[inside]
    around = float(grey[band].mean()) if band.any() else float(grey[inside].mean())
    return [*(float(v) for v in colours.mean(axis=0)), float(grey[inside].std()), float(grey[inside].mean()) - around]


def detail(image: Pixels, mask: Pixels) -> float:
    """Mean deviation of brightness from its blur over a pixel or two, over its deviation from its mean, in the mask.

    A smear, however strong its contrast, has little. The border of the mask does not count where there is more than it.
    """
    x, y, width, height = cv2.boundingRect(mask)
    window = (slice(max(0, y - 4), y + height + 4), slice(max(0, x - 4), x + width + 4))
    grey = image[window].astype(np.float32).mean(axis=2)
    whole = np.ascontiguousarray(mask[window])
    inner = cv2.erode(whole, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = (inner if int(inner.sum()) >= _INNER else whole) > 0
    fine = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    return float(fine[inside].mean() / max(float(grey[inside].std()), 1e-3))


class Gate:
    """The range of the real defects, a little widened.

    Args:
        rows: `statistics` of each real one.
        details: `detail` of each real one.
    """

    def __init__(self, rows: Sequence[Sequence[float]], details: Sequence[float]) -> None:
        values = np.asarray(rows, np.float64)
        low, high = values.min(axis=0), values.max(axis=0)
        slack = np.maximum((high - low) * _SLACK, _LEAST)
        self._low, self._high = low - slack, high + slack
        # Flat blobs: a real defect with structure has at least half of it in its paintings.
        self._low[3] = min(low[3] * 0.5, values[:, 3].mean())
        self._sharp = min(details)

    def excess(self, row: Sequence[float]) -> float:
        """How far a painting lies outside, in grey levels; 0: passed."""
        values = np.asarray(row, np.float64)
        beyond: NDArray[np.float64] = np.maximum(np.maximum(self._low - values, values - self._high), 0)
        return float(beyond.sum())

    def blur(self, found: float, donor: float) -> float:
        """How far a free painting's `detail` lies below what it should have, in grey levels; 0: passed.

        That is what the most blurred real defect has, and most of what the donor has that would be laid into the same
        mask: detail depends on the shape as well. (0: there is no such donor.)
        """
        return _BLUR * max(0.0, 1 - found / max(self._sharp, _SHARP * donor))
