"""Quality gate: a painting whose colours in the mask no real defect has is painted again."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_SLACK = 0.4  # of the range of the real ones, on each side: a handful does not show all
_LEAST = 8.0  # the same in grey levels


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


class Gate:
    """The range of the real defects, a little widened.

    Args:
        rows: `statistics` of each real one.
    """

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        values = np.asarray(rows, np.float64)
        low, high = values.min(axis=0), values.max(axis=0)
        slack = np.maximum((high - low) * _SLACK, _LEAST)
        self._low, self._high = low - slack, high + slack
        # Flat blobs: a real defect with structure has at least half of it in its paintings.
        self._low[3] = min(low[3] * 0.5, values[:, 3].mean())

    def excess(self, row: Sequence[float]) -> float:
        """How far a painting lies outside, in grey levels; 0: passed."""
        values = np.asarray(row, np.float64)
        beyond: NDArray[np.float64] = np.maximum(np.maximum(self._low - values, values - self._high), 0)
        return float(beyond.sum())
