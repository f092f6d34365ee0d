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
    """How much more often B is right than A, on the same test images.

    Attributes:
        difference: Accuracy of B minus accuracy of A.
        low: Lower end of the bootstrap interval.
        high: Upper end of it.
        only_a: Answers that only A got right.
        only_b: Answers that only B got right.
        total: Answers compared.
    """

    difference: float
    low: float
    high: float
    only_a: int
    only_b: int
    total: int


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


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value that A and B are right equally often (McNemar's test with the binomial distribution).

    Valid where every answer is about another image; not for the same images seen again in other partitions.

    Args:
        only_a: Answers that only A got right.
        only_b: Answers that only B got right.

    Returns:
        1.0 where A and B never differ.
    """
    total, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(total, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << total))


def paired_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    *,
    seed: int,
    images: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
) -> PairedDifference:
    """Difference of two accuracies with a percentile bootstrap interval over test images.

    Args:
        correct_a: Whether A got each answer right, bool [N].
        correct_b: The same for B, in the same order.
        seed: Of the resampling.
        images: Name of the image of each answer; answers about one image (seen again in another partition or by another
            training seed) are resampled together. None: every answer is an image of its own.
        confidence: Coverage, between 0 and 1.
        resamples: Number of bootstrap resamples.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise ValueError(f"need two equally long rows of answers, got {list(a.shape)} and {list(b.shape)}")
    change = b.astype(np.int64) - a.astype(np.int64)
    of_image = np.arange(a.size) if images is None else np.unique(np.asarray(images), return_inverse=True)[1]
    if of_image.shape != a.shape:
        raise ValueError(f"need one image name per answer, got {len(of_image)} for {a.size}")
    answers = np.bincount(of_image)
    gain = np.bincount(of_image, weights=change)

    rng = np.random.default_rng(seed)
    chances = np.full(len(answers), 1 / len(answers))
    means: list[NDArray[np.float64]] = []
    for start in range(0, resamples, _CHUNK):
        times = rng.multinomial(len(answers), chances, size=min(_CHUNK, resamples - start))  # [resamples, images]
        means.append((times @ gain) / (times @ answers))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return PairedDifference(
        difference=float(change.mean()),
        low=float(low),
        high=float(high),
        only_a=int((change < 0).sum()),
        only_b=int((change > 0).sum()),
        total=a.size,
    )


def mean_over_partitions(values: Sequence[float]) -> Mean:
    """Mean of one number per partition, as the paper's tables report it, with its spread."""
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))
