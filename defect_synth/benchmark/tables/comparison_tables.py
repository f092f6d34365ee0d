"""Paired differences between arms with their verdicts."""

from __future__ import annotations

from defect_synth.benchmark.results import BenchmarkResults, Comparison
from defect_synth.benchmark.tables.report_table import ReportTable, difference_in_points

_TRAINED_ONCE = (
    " Each network was trained once: the intervals cover other test images, but not another training, which may move "
    "any difference by several points. Do not believe one before --seeds 3 or more shows it too."
)


def comparison_tables(results: BenchmarkResults, category: str, task: str, figure: str) -> list[ReportTable]:
    """One table for each arm that others are compared with.

    Args:
        results: What was measured.
        category: Object category.
        task: Name of the task.
        figure: The figure that arms are compared by.
    """
    tables = []
    compared = [c for c in results.comparisons if c.category == category and c.task == task]
    for against in dict.fromkeys(c.against for c in compared):
        family = [c for c in compared if c.against == against]
        first = family[0]
        rows = tuple(
            (c.arm, difference_in_points(c), _p_value(c.p_value), _p_value(c.p_holm), c.verdict, _partitions_needed(c))
            for c in family
        )
        trained_once = first.answers == first.images and task != "probe"
        tables.append(
            ReportTable(
                f"Against {against}: {figure}",
                ("arm", "difference in points [95 %]", "p", "p (Holm)", "verdict", "partitions needed"),
                rows,
                f"Paired on the same {first.images} test images ({first.answers} answers). The bootstrap resamples "
                "images, so that answers about one image from several partitions or seeds count as one. p: from random "
                "sign flips of whole images. 'gain' and 'loss' require an interval without 0 and p (Holm) < 0.05. "
                "Partitions needed: to show such a difference four times out of five, if it is real."
                + (_TRAINED_ONCE if trained_once else ""),
            )
        )
    return tables


def _p_value(value: float) -> str:
    """Three digits; the smallest value that so many sign flips can show is not 0."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _partitions_needed(comparison: Comparison) -> str:
    if comparison.partitions_needed is None:
        return "-"
    return "> 1000" if comparison.partitions_needed > 1000 else str(comparison.partitions_needed)
