"""How certain a measured accuracy is, and the difference of two."""

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
        difference: Mean of B minus mean of A; a difference of accuracies if each value is 0 or 1.
        low: Lower end of the bootstrap interval.
        high: Upper end of it.
        standard_error: Standard deviation of the bootstrap means.
        p_value: Two-sided p-value of the hypothesis that A and B are exchangeable, from random sign flips of whole
            images.
        only_a: Number of answers for which A was better.
        only_b: Number of answers for which B was better.
        total: Number of answers compared.
        images: Number of different test images among them.
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
    """Mean over partitions and sample standard deviation; the latter is None for a single partition."""

    mean: float
    std: float | None
    partitions: int


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927), which holds for few images and near 0 and 1, unlike the normal one.

    Args:
        correct: Number of correct answers.
        total: Number of answers.
        confidence: Coverage, between 0 and 1.

    Raises:
        ValueError: There are no answers, or more correct ones than answers.
    """
    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"need 0 <= correct <= total and total > 0, got {correct} of {total}")
    from scipy.stats import binomtest  # half a second to import

    low, high = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return Interval(float(low), float(high))


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
        values_a: Score of each answer of A, [N]: 0 or 1, or a figure such as an IoU.
        values_b: The same for B, in the same order.
        seed: Seed of the resampling.
        images: Name of the test image of each answer. Answers about one image (from another partition or another
            training seed) are resampled together. None: every answer is about an image of its own.
        confidence: Coverage, between 0 and 1.
        resamples: Number of bootstrap resamples and of sign flips.

    Raises:
        ValueError: The arguments differ in length, or are empty.
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


class ScoredRun(NamedTuple):
    """Who scores higher in one run of a detector: `order` [D, G] as of `order_matrix`, and the names of the images."""

    order: NDArray[np.float64]
    defective: Sequence[str]
    good: Sequence[str]


def paired_auroc_difference(
    runs: Sequence[tuple[ScoredRun, ScoredRun]], *, seed: int, confidence: float = 0.95, resamples: int = 4_000
) -> PairedDifference:
    """Difference of two AUROCs, averaged over runs, with a percentile bootstrap over defective and over good images.

    Args:
        runs: For each partition and training seed, the run of A and that of B on the same images. An image of several
            runs is resampled as one.
        seed: Seed of the resampling.
        confidence: Coverage, between 0 and 1.
        resamples: Number of bootstrap resamples; the p-value is twice the smaller share of them beyond 0.

    Raises:
        ValueError: There are no runs, or those of a pair are about different images.
    """
    if not runs or any(a.defective != b.defective or a.good != b.good for a, b in runs):
        raise ValueError("need pairs of runs about the same images")
    rng = np.random.default_rng(seed)
    weights = [_image_weights(names, rng, resamples) for names in ([a.defective for a, _ in runs],
                                                                   [a.good for a, _ in runs])]  # fmt: skip
    drawn = np.zeros(resamples)
    for (a, b), defective, good in zip(runs, *weights, strict=True):
        gain = ((defective @ (b.order - a.order)) * good).sum(axis=1)
        drawn += gain / np.maximum(defective.sum(axis=1) * good.sum(axis=1), 1) / len(runs)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    changes = np.concatenate([(b.order - a.order).mean(axis=1) for a, b in runs])
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return PairedDifference(
        difference=float(np.mean([(b.order - a.order).mean() for a, b in runs])),
        low=float(low),
        high=float(high),
        standard_error=float(drawn.std(ddof=1)),
        p_value=min(1.0, 2 * (1 + beyond) / (1 + resamples)),
        only_a=int((changes < 0).sum()),
        only_b=int((changes > 0).sum()),
        total=len(changes),
        images=len({name for a, _ in runs for name in a.defective}),
    )


def _image_weights(
    names: Sequence[Sequence[str]], rng: np.random.Generator, resamples: int
) -> list[NDArray[np.float64]]:
    """How often each image of each run is drawn in each resample: [resamples, images of the run] for each run."""
    known = {name: k for k, name in enumerate(dict.fromkeys(name for run in names for name in run))}
    times = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=resamples).astype(np.float64)
    return [times[:, [known[name] for name in run]] for run in names]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, so that the chance of any false claim stays below the level (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def partitions_needed(paired: PairedDifference, partitions: int, power: float = 0.8) -> int | None:
    """Number of partitions needed to show a true difference as large as the observed one.

    The standard error is assumed to shrink with the square root of the number of partitions, which is slightly
    optimistic because partitions share test images.

    Args:
        paired: The difference over `partitions` partitions.
        partitions: Number of partitions.
        power: Probability of an interval that excludes 0.

    Returns:
        None if no difference was observed.
    """
    if paired.difference == 0:
        return None
    normal = statistics.NormalDist()
    wanted = normal.inv_cdf(0.975) + normal.inv_cdf(power)
    return max(1, math.ceil(partitions * (wanted * paired.standard_error / paired.difference) ** 2))


def mean_over_partitions(values: Sequence[float]) -> Mean:
    """Mean of one number per partition, as in the paper's tables, and its standard deviation."""
    return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))
