"""How sure a measured accuracy, or a difference of two, is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CHUNK = 1000  # bootstrap resamples in memory at a time


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """How much better B is than A on the same test images.

    Attributes:
        difference: Mean of B minus mean of A: of accuracies, where the values are right or wrong.
        low: Lower end of the bootstrap interval.
        high: Upper end of it.
        standard_error: Standard deviation of the bootstrap means.
        p_value: Two-sided, that A and B are exchangeable: signs of whole images flipped at random.
        only_a: Answers for which A was better.
        only_b: Answers for which B was better.
        total: Answers compared.
        images: Different test images among them.
    """

    difference: float
    low: float
    high: float
    standard_error: float
    p_value: float
    only_a: int
    only_b: int
    total: int
    images: int


class Mean(NamedTuple):
    """Mean and sample standard deviation; the latter is None for a single value."""

    mean: float
    std: float | None
    partitions: int


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927); unlike the normal one it holds near 0 and 1 and for few images.

    Args:
        correct: Number of right answers.
        total: Number of answers.
        confidence: Coverage, between 0 and 1.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"need 0 <= correct <= total and total > 0, got {correct} of {total}")
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At 0 and 1 the end is exact, but rounding would miss it.
    return Interval(0.0 if correct == 0 else centre - half, 1.0 if correct == total else centre + half)


def paired_difference(
    values_a: ArrayLike,
    values_b: ArrayLike,
    *,
    seed: int,
    images: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> PairedDifference:
    """Difference of two means with a percentile bootstrap interval over test images.

    Args:
        values_a: What A achieved for each answer, [N]: right or wrong, or a figure such as an IoU.
        values_b: The same for B, in the same order.
        seed: Of the resampling.
        images: Name of the image of each answer; answers about one image (seen again in another partition or by another
            training seed) are resampled together. None: every answer is an image of its own.
        confidence: Coverage, between 0 and 1.
        resamples: Number of bootstrap resamples, and of sign flips.
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"need two equally long rows of answers, got {list(a.shape)} and {list(b.shape)}")
    change = b - a
    of_image = np.arange(a.size) if images is None else np.unique(np.asarray(images), return_inverse=True)[1]
    if of_image.shape != a.shape:
        raise ValueError(f"need one image name per answer, got {len(of_image)} for {a.size}")
    answers = np.bincount(of_image)
    gain = np.bincount(of_image, weights=change)

    rng = np.random.default_rng(seed)
    chances = np.full(len(answers), 1 / len(answers))
    means: list[NDArray[np.float64]] = []
    as_extreme = 0
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        times = rng.multinomial(len(answers), chances, size=size)  # [resamples, images]
        means.append((times @ gain) / (times @ answers))
        signs = rng.integers(0, 2, (size, len(answers))) * 2 - 1
        as_extreme += int((np.abs(signs @ gain) >= abs(gain.sum()) - 1e-9).sum())
    drawn = np.concatenate(means)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return PairedDifference(
        difference=float(change.mean()),
        low=float(low),
        high=float(high),
        standard_error=float(drawn.std(ddof=1)),
        p_value=(1 + as_extreme) / (1 + resamples),
        only_a=int((change < 0).sum()),
        only_b=int((change > 0).sum()),
        total=a.size,
        images=len(answers),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family, adjusted so that the chance of any false claim stays below the level (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def partitions_needed(paired: PairedDifference, partitions: int, power: float = 0.8) -> int | None:
    """How many such partitions would show a true difference as large as the observed one.

    The standard error is taken to shrink with the square root of the number of partitions, which is a little too
    hopeful where partitions test the same images.

    Args:
        paired: What `partitions` partitions showed.
        partitions: How many there were.
        power: Chance of an interval that excludes 0.

    Returns:
        None where no difference was observed.
    """
    if paired.difference == 0:
        return None
    normal = statistics.NormalDist()
    wanted = normal.inv_cdf(0.975) + normal.inv_cdf(power)
    return max(1, math.ceil(partitions * (wanted * paired.standard_error / paired.difference) ** 2))


def mean_over_partitions(values: Sequence[float]) -> Mean:
    """Mean of one number per partition, as the paper's tables report it, with its spread."""
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))
