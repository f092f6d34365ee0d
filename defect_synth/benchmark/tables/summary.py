"""Results grouped as the reports show them: one summary per arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.statistics import Mean, mean_over_partitions
from defect_synth.benchmark.tables.report_table import percent
from defect_synth.benchmark.task_results import (
    AnswersResult,
    ArmResult,
    ClassificationResult,
    DetectionResult,
    ProbeResult,
    QualityResult,
    SegmentationResult,
)

_Result = TypeVar("_Result", bound=ArmResult)


class ArmSummary(NamedTuple, Generic[_Result]):
    """One arm over all partitions and seeds of a category.

    Attributes:
        arm: Label of the arm.
        results: Its results.
        partitions: Partition -> mean of the main figure over seeds.
        mean: Mean over partitions.
    """

    arm: str
    results: tuple[_Result, ...]
    partitions: dict[str, float]
    mean: Mean

    def percents(self, names: Sequence[str]) -> list[str]:
        """The main figure of each of these partitions in percent."""
        return [percent(self.partitions[name]) if name in self.partitions else "-" for name in names]

    @property
    def mean_percent(self) -> str:
        """Mean and standard deviation over partitions in percent."""
        return percent(self.mean.mean) + ("" if self.mean.std is None else f" ± {100 * self.mean.std:.1f}")


def categories(results: BenchmarkResults) -> list[str]:
    """Object categories in the order of the benchmark."""
    return [product.category for product in results.products]


def accuracy_summaries(results: BenchmarkResults, category: str) -> list[ArmSummary[ClassificationResult]]:
    """Arms by accuracy of the classifier, in the order of the table of arms."""
    return _summaries([r for r in results.classification if r.category == category], "accuracy")


def segmentation_summaries(results: BenchmarkResults, category: str) -> list[ArmSummary[SegmentationResult]]:
    """Arms by pixel AP."""
    return _summaries([r for r in results.segmentation if r.category == category], "average_precision")


def detection_summaries(results: BenchmarkResults, category: str) -> list[ArmSummary[DetectionResult]]:
    """Arms by AUROC of the images."""
    return _summaries([r for r in results.detection if r.category == category], "auroc")


def probe_summaries(results: BenchmarkResults, category: str) -> list[ArmSummary[ProbeResult]]:
    """Arms by accuracy of the linear probe."""
    return _summaries([r for r in results.probe if r.category == category], "accuracy")


def quality_of(results: BenchmarkResults, category: str, arm: str) -> list[QualityResult]:
    """Quality of the images of an arm, one result for each partition."""
    return [result for result in results.quality if (result.category, result.arm) == (category, arm)]


def mean_of(results: Sequence[ArmResult], figure: str) -> float:
    """Mean of a field over results."""
    values = [float(getattr(result, figure)) for result in results]
    return sum(values) / len(values)


def mean_recall(results: Sequence[AnswersResult]) -> dict[str, float | None]:
    """Class -> mean recall over results."""
    found: dict[str, float | None] = {}
    for name in results[0].classes:
        values = [value for result in results if (value := result.recall.get(name)) is not None]
        found[name] = sum(values) / len(values) if values else None
    return found


def summed_confusion(results: Sequence[ClassificationResult]) -> list[list[int]]:
    """Sum of confusion matrices."""
    size = len(results[0].classes)
    return [[sum(result.confusion[i][j] for result in results) for j in range(size)] for i in range(size)]


def _summaries(results: Sequence[_Result], figure: str) -> list[ArmSummary[_Result]]:
    by_arm: dict[str, dict[str, list[_Result]]] = {}
    for result in results:
        by_arm.setdefault(result.label, {}).setdefault(result.partition, []).append(result)
    summaries = []
    for arm, by_partition in by_arm.items():
        of_arm = tuple(result for result in results if result.label == arm)
        means = {name: mean_of(found, figure) for name, found in by_partition.items()}
        summaries.append(ArmSummary(arm, of_arm, means, mean_over_partitions(list(means.values()))))
    return summaries
