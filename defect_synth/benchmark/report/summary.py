"""Results grouped as the reports show them: one line per arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from defect_synth.benchmark.results import (
    BenchmarkResults,
    ClassificationCell,
    ProbeCell,
    QualityCell,
    SegmentationCell,
)
from defect_synth.benchmark.statistics import Mean, mean_over_partitions

_Cell = TypeVar("_Cell", ClassificationCell, SegmentationCell, ProbeCell)


class ArmLine(NamedTuple):
    """One arm over all partitions and seeds of a category.

    Attributes:
        arm: Label of the arm.
        cells: Its cells.
        partitions: Partition -> mean of the main figure over seeds.
        mean: Over partitions.
    """

    arm: str
    cells: tuple[ClassificationCell, ...] | tuple[SegmentationCell, ...] | tuple[ProbeCell, ...]
    partitions: dict[str, float]
    mean: Mean


def categories(results: BenchmarkResults) -> list[str]:
    """In the order of the benchmark."""
    return [product.category for product in results.products]


def accuracy_lines(results: BenchmarkResults, category: str) -> list[ArmLine]:
    """Arms by accuracy, in the order of the table of arms."""
    return _lines([c for c in results.classification if c.category == category], "accuracy")


def segmentation_lines(results: BenchmarkResults, category: str) -> list[ArmLine]:
    """Arms by pixel AP."""
    return _lines([c for c in results.segmentation if c.category == category], "average_precision")


def probe_lines(results: BenchmarkResults, category: str) -> list[ArmLine]:
    """Arms by accuracy of the linear probe."""
    return _lines([c for c in results.probe if c.category == category], "accuracy")


def quality_of(results: BenchmarkResults, category: str, arm: str) -> list[QualityCell]:
    """What is known of the images of an arm, one cell for each partition."""
    return [cell for cell in results.quality if (cell.category, cell.arm) == (category, arm)]


def mean_of(
    cells: Sequence[ClassificationCell] | Sequence[SegmentationCell] | Sequence[ProbeCell], figure: str
) -> float:
    """Mean of a field."""
    values = [float(getattr(cell, figure)) for cell in cells]
    return sum(values) / len(values)


def mean_recall(cells: Sequence[ClassificationCell] | Sequence[ProbeCell]) -> dict[str, float | None]:
    """Class -> mean recall over cells."""
    found: dict[str, float | None] = {}
    for name in cells[0].classes:
        values = [value for cell in cells if (value := cell.recall.get(name)) is not None]
        found[name] = sum(values) / len(values) if values else None
    return found


def summed_confusion(cells: Sequence[ClassificationCell]) -> list[list[int]]:
    """Confusion matrices added up."""
    size = len(cells[0].classes)
    return [[sum(cell.confusion[i][j] for cell in cells) for j in range(size)] for i in range(size)]


def _lines(cells: Sequence[_Cell], figure: str) -> list[ArmLine]:
    lines = []
    for arm in dict.fromkeys(cell.label for cell in cells):
        mine = tuple(cell for cell in cells if cell.label == arm)
        by_partition = {
            name: mean_of([cell for cell in mine if cell.partition == name], figure)
            for name in dict.fromkeys(cell.partition for cell in mine)
        }
        lines.append(ArmLine(arm, mine, by_partition, mean_over_partitions(list(by_partition.values()))))
    return lines
