"""Share out the items of a data set among its classes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import ConfigError


def class_shares(weights: Mapping[str, float] | None, defects: tuple[str, ...]) -> NDArray[np.float64]:
    """The share of each defect, [K], with sum 1, in proportion to `weights`; equal shares without them.

    Raises:
        ConfigError: `weights` does not name exactly these defects, or has values that cannot be weights.
    """
    if weights is None:
        return np.full(len(defects), 1 / len(defects))
    if set(weights) != set(defects):
        raise ConfigError(f"weights must name exactly {', '.join(defects)}; got {', '.join(weights) or 'nothing'}")
    values = np.array([weights[defect] for defect in defects], dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or values.sum() == 0:
        raise ConfigError(f"weights must be finite, not negative and not all zero; got {dict(weights)}")
    shares: NDArray[np.float64] = values / values.sum()
    return shares


def apportion(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Split `total` into whole counts in proportion to `shares`, by largest remainders; the first wins a tie.

    Args:
        shares: Not negative, with sum 1, [K].
        total: The sum of the counts.

    Returns:
        int64 [K].
    """
    exact = shares * total
    counts = np.floor(exact + 1e-9).astype(np.int64)  # a share of 0.3 of 10 is 3 in spite of rounding errors
    largest_remainders = np.argsort(-(exact - counts), kind="stable")
    counts[largest_remainders[: total - int(counts.sum())]] += 1
    return counts


def interleave(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """A sequence that has the number k `counts[k]` times, evenly distributed.

    Equal counts give 0, 1, ..., K-1, 0, 1, ...; each part of the sequence has nearly the proportions of the whole, so
    that batches are balanced even without shuffling.

    Args:
        counts: Not negative, [K].

    Returns:
        int64 [counts.sum()].
    """
    labels = np.repeat(np.arange(len(counts)), counts)
    positions = np.concatenate([(np.arange(n) + 0.5) / n for n in counts if n])
    return labels[np.argsort(positions, kind="stable")]
