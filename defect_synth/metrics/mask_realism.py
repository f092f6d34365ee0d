"""Do generated masks look like real ones? Distributions of their area, position, elongation and border contact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError
from defect_synth.samples import Pixels

_RESAMPLES = 500
SHAPE_COLUMNS = ("area", "x", "y", "elongation", "border", "empty")
"""Columns of `mask_shapes`."""


@dataclass(frozen=True)
class DistributionDistance:
    """Distance between two samples of a number.

    Attributes:
        value: The distance, in the unit of the number.
        low: Lower end of the 95 % bootstrap interval over both samples.
        high: Upper end of the interval.
        by_chance: 95 % quantile of the distance after shuffling real and generated together, below which equal
            distributions stay with so few images.
    """

    value: float
    low: float
    high: float
    by_chance: float


@dataclass(frozen=True)
class MaskRealism:
    """Generated masks compared with real masks of the same defect category.

    Attributes:
        area: Wasserstein distance of log2 of the covered share; 1 means twice or half as large on average.
        x: Wasserstein distance of the horizontal centre, in image widths.
        y: Wasserstein distance of the vertical centre, in image heights.
        elongation: Wasserstein distance of log2 of the ratio of the principal axes; 1 means twice as long.
        border: Absolute difference of the shares of masks that touch the border of the image.
        empty_share: Share of generated masks without a defect pixel, which are left out of all other numbers.
    """

    area: DistributionDistance
    x: DistributionDistance
    y: DistributionDistance
    elongation: DistributionDistance
    border: DistributionDistance
    empty_share: float


def mask_shapes(masks: Pixels) -> NDArray[np.float64]:
    """Six numbers for each mask, uint8 [N, H, W] -> float64 [N, 6], whose names are `SHAPE_COLUMNS`.

    They are log2 of the covered share; the centre in 0..1; log2 of the ratio of the principal axes, where each pixel is
    a unit square, so that a line of one pixel has a width; 1 if the mask touches the border; and 1 if it is empty. All
    but the last are 0 for an empty mask.
    """
    if masks.ndim != 3:
        raise ValueError(f"masks must be [N, H, W], got {list(masks.shape)}")
    return np.array([_shape(mask) for mask in masks], np.float64).reshape(len(masks), len(SHAPE_COLUMNS))


def mask_realism(real: NDArray[np.float64], generated: NDArray[np.float64], seed: int = 0) -> MaskRealism:
    """Compare the shapes of real and of generated masks.

    Args:
        real: Result of `mask_shapes` for real masks, [N, 6]; empty masks are left out.
        generated: Result of `mask_shapes` for generated masks, [M, 6]; empty masks are counted and then left out.
        seed: Seed of the bootstrap samples.

    Raises:
        DataError: There are fewer than two real or generated masks that are not empty.
    """
    empty = generated[:, 5] > 0
    a, b = real[real[:, 5] == 0], generated[~empty]
    if min(len(a), len(b)) < 2:
        raise DataError(
            f"mask realism needs at least 2 real and 2 generated masks that are not empty, got {len(a)} and {len(b)}"
        )
    area, x, y, elongation, border = (
        _compare(a[:, column], b[:, column], np.random.default_rng([seed, column])) for column in range(5)
    )
    return MaskRealism(area, x, y, elongation, border, empty_share=float(empty.mean()))


def wasserstein(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Wasserstein-1 distance between the samples in each row, [S, N] and [S, M] -> [S].

    This is the area between the two distribution functions. For numbers that are 0 or 1 it is the absolute difference
    of their means.
    """
    both = np.concatenate([a, b], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    steps = np.where(order < a.shape[1], 1 / a.shape[1], -1 / b.shape[1])
    gaps = np.diff(np.take_along_axis(both, order, axis=1), axis=1)
    distance: NDArray[np.float64] = (np.abs(np.cumsum(steps, axis=1)[:, :-1]) * gaps).sum(axis=1)
    return distance


def _shape(mask: Pixels) -> tuple[float, float, float, float, float, float]:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
    height, width = mask.shape
    spread = np.cov(np.stack([rows, columns]).astype(np.float64), bias=True) + np.eye(2) / 12
    short, long = np.linalg.eigvalsh(spread)
    border = rows.min() == 0 or columns.min() == 0 or rows.max() == height - 1 or columns.max() == width - 1
    return (
        float(np.log2(len(rows) / mask.size)),
        float((columns.mean() + 0.5) / width),
        float((rows.mean() + 0.5) / height),
        float(0.5 * np.log2(long / short)),
        float(border),
        0.0,
    )


def _compare(
    real: NDArray[np.float64], generated: NDArray[np.float64], rng: np.random.Generator
) -> DistributionDistance:
    drawn = [values[rng.integers(0, len(values), (_RESAMPLES, len(values)))] for values in (real, generated)]
    resampled = wasserstein(*drawn)
    # Resampling biases the distance upwards, so only the spread of the resampled distances is used.
    low, high = np.quantile(resampled, (0.025, 0.975)) - resampled.mean()
    value = float(wasserstein(real[None], generated[None])[0])
    pooled = np.concatenate([real, generated])
    shuffled = rng.permuted(np.broadcast_to(pooled, (_RESAMPLES, len(pooled))), axis=1)
    chance = wasserstein(shuffled[:, : len(real)], shuffled[:, len(real) :])
    return DistributionDistance(
        value=value,
        low=max(0.0, value + float(low)),
        high=value + float(high),
        by_chance=float(np.quantile(chance, 0.95)),
    )
