"""Arms against each other, in words that say no more than the interval does."""

from __future__ import annotations

from collections.abc import Sequence

from defect_synth.benchmark.arms import REAL, STANDARD
from defect_synth.benchmark.results import ClassificationCell, Comparison, ProbeCell, SegmentationCell
from defect_synth.benchmark.statistics import PairedDifference, holm, paired_difference, partitions_needed
from defect_synth.errors import DataError

_BOOTSTRAP_SEED = 0
_LEVEL = 0.05
Cell = ClassificationCell | SegmentationCell | ProbeCell


def compare_arms(cells: Sequence[Cell], task: str) -> list[Comparison]:
    """Every arm against `real`, and every arm with generated images against standard augmentation.

    Args:
        cells: Of one task, any categories.
        task: Its name.

    Raises:
        DataError: Two cells of a pair have other test images or steps.
    """
    found = []
    for category in dict.fromkeys(cell.category for cell in cells):
        mine = [cell for cell in cells if cell.category == category]
        for against in (REAL, STANDARD):
            others = dict.fromkeys(
                cell.label
                for cell in mine
                if cell.arm not in (REAL, against) and (against == REAL or cell.num_synthetic)
            )
            found += _family(category, task, mine, list(others), against)
    return found


def verdict(paired: PairedDifference, p_holm: float, family: int) -> str:
    """`gain` or `loss` only where interval and corrected p-value agree."""
    if paired.low <= 0 <= paired.high:
        return f"no difference seen, n = {paired.images}"
    if p_holm >= _LEVEL:
        return f"not significant after Holm's correction for {family} arms, n = {paired.images}"
    return "gain" if paired.difference > 0 else "loss"


def _family(category: str, task: str, cells: Sequence[Cell], arms: Sequence[str], against: str) -> list[Comparison]:
    by_run = {(cell.label, cell.partition, cell.seed): cell for cell in cells}
    measured: list[tuple[str, PairedDifference, int, int]] = []
    for arm in arms:
        pairs = [
            (by_run[against, partition, seed], cell)
            for (label, partition, seed), cell in by_run.items()
            if label == arm and (against, partition, seed) in by_run
        ]
        if pairs:
            partitions, seeds = {b.partition for _, b in pairs}, {b.seed for _, b in pairs}
            measured.append((arm, _paired(pairs), len(partitions), len(seeds)))
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


def _paired(pairs: Sequence[tuple[Cell, Cell]]) -> PairedDifference:
    """Over all answers of the pairs; an image that several partitions or seeds test is resampled as one."""
    for a, b in pairs:
        if a.test_names != b.test_names or a.steps != b.steps:
            raise DataError(
                f"{a.partition}, seed {a.seed}: {a.label!r} and {b.label!r} differ in their test images or steps; "
                "measure both again"
            )
    return paired_difference(
        [value for a, _ in pairs for value in a.values],
        [value for _, b in pairs for value in b.values],
        images=[name for a, _ in pairs for name in a.test_names],
        seed=_BOOTSTRAP_SEED,
    )
