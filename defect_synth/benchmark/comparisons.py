"""Arms compared with each other, in words that claim no more than the interval shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from defect_synth.benchmark.arms import REAL, STANDARD_AUGMENTATION
from defect_synth.benchmark.downstream.detection_scores import order_matrix
from defect_synth.benchmark.results import Comparison
from defect_synth.benchmark.statistics import (
    PairedDifference,
    ScoredRun,
    holm,
    paired_auroc_difference,
    paired_difference,
    partitions_needed,
)
from defect_synth.benchmark.task_results import ArmResult, DetectionResult
from defect_synth.errors import DataError

_BOOTSTRAP_SEED = 0
_LEVEL = 0.05


Paired = Callable[[Sequence[tuple[ArmResult, ArmResult]]], PairedDifference]
"""The difference between two arms, from pairs of their results on the same partition with the same seed."""


def compare_arms(results: Sequence[ArmResult], task: str, paired: Paired | None = None) -> list[Comparison]:
    """Compare every arm with `real`, and every arm that has generated images with standard augmentation.

    Args:
        results: Results of one task, of any categories.
        task: Name of the task.
        paired: The difference between two arms; None: that of the means of their `values`.

    Raises:
        DataError: Two results of a pair have different test images or numbers of steps.
    """
    found = []
    for category in dict.fromkeys(result.category for result in results):
        of_category = [result for result in results if result.category == category]
        for against in (REAL, STANDARD_AUGMENTATION):
            arms = dict.fromkeys(
                result.label
                for result in of_category
                if result.arm not in (REAL, against) and (against == REAL or result.num_synthetic)
            )
            found += _compare_family(category, task, of_category, list(arms), against, paired or _paired)
    return found


def verdict(paired: PairedDifference, p_holm: float, family: int) -> str:
    """`gain` or `loss` only if the interval and the corrected p-value agree; otherwise a phrase.

    Args:
        paired: The difference.
        p_holm: Its corrected p-value.
        family: Number of comparisons that it was corrected for.
    """
    if paired.low <= 0 <= paired.high:
        return f"no difference seen, n = {paired.images}"
    if p_holm >= _LEVEL:
        return f"not significant after Holm's correction for {family} arms, n = {paired.images}"
    return "gain" if paired.difference > 0 else "loss"


def _compare_family(
    category: str, task: str, results: Sequence[ArmResult], arms: Sequence[str], against: str, paired_of: Paired
) -> list[Comparison]:
    by_run = {(result.label, result.partition, result.seed): result for result in results}
    measured: list[tuple[str, PairedDifference, int, int]] = []
    for arm in arms:
        pairs = [
            (by_run[against, partition, seed], result)
            for (label, partition, seed), result in by_run.items()
            if label == arm and (against, partition, seed) in by_run
        ]
        if pairs:
            partitions, seeds = {b.partition for _, b in pairs}, {b.seed for _, b in pairs}
            measured.append((arm, paired_of(pairs), len(partitions), len(seeds)))
    adjusted = holm([paired.p_value for _, paired, _, _ in measured])
    return [
        Comparison(
            category=category, task=task, arm=arm, against=against,
            difference=paired.difference, low=paired.low, high=paired.high,
            p_value=paired.p_value, p_holm=p_holm,
            images=paired.images, answers=paired.total, partitions=partitions, seeds=seeds,
            partitions_needed=partitions_needed(paired, partitions),
            verdict=verdict(paired, p_holm, len(measured)),
        )
        for (arm, paired, partitions, seeds), p_holm in zip(measured, adjusted, strict=True)
    ]  # fmt: skip


def auroc_difference(pairs: Sequence[tuple[ArmResult, ArmResult]]) -> PairedDifference:
    """The difference of the AUROCs of two arms of the task `detection`."""
    _require_alike(pairs)
    runs = [(_scored(a), _scored(b)) for a, b in pairs]
    return paired_auroc_difference(runs, seed=_BOOTSTRAP_SEED)


def _scored(result: ArmResult) -> ScoredRun:
    assert isinstance(result, DetectionResult)
    return ScoredRun(
        order_matrix(np.array(result.scores), np.array(result.good_scores)), result.test_names, result.good_names
    )


def _paired(pairs: Sequence[tuple[ArmResult, ArmResult]]) -> PairedDifference:
    """The difference over all answers; an image that several partitions or seeds test is resampled as one."""
    _require_alike(pairs)
    return paired_difference(
        [value for a, _ in pairs for value in a.values],
        [value for _, b in pairs for value in b.values],
        images=[name for a, _ in pairs for name in a.test_names],
        seed=_BOOTSTRAP_SEED,
    )


def _require_alike(pairs: Sequence[tuple[ArmResult, ArmResult]]) -> None:
    for a, b in pairs:
        if a.test_names != b.test_names or a.steps != b.steps:
            raise DataError(
                f"{a.partition}, seed {a.seed}: {a.label!r} and {b.label!r} differ in their test images or steps; "
                "measure both again"
            )
