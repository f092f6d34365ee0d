"""The task `classification`: train a classifier of defect categories (Sec. 4.3 and Table 2, Duan et al. 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.downstream.classifier import train_classifier
from defect_synth.benchmark.downstream.classifier_scores import score
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.statistics import wilson_interval
from defect_synth.benchmark.tables.comparison_tables import comparison_tables
from defect_synth.benchmark.tables.report_table import ReportTable, number_range, percent, plural
from defect_synth.benchmark.tables.summary import accuracy_summaries, mean_of, mean_recall
from defect_synth.benchmark.task_results import ClassificationResult, TaskResult
from defect_synth.benchmark.tasks.task import ArmData, Trial


class ClassificationTask:
    """Train a classifier on the images of an arm and let it answer for the test images."""

    name: ClassVar[str] = "classification"
    length: ClassVar[float] = 1.0
    record: ClassVar[type[TaskResult]] = ClassificationResult
    compared_figure: ClassVar[str] = "accuracy"

    def __init__(self, protocol: BenchmarkProtocol, device: str) -> None:
        self._protocol, self._config, self._device = protocol, protocol.classifier, device

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self:
        """Every protocol has it."""
        return cls(protocol, device)

    @property
    def settings(self) -> Any:
        """The classifier's settings."""
        return self._config.model_dump(mode="json")

    def exclusion(self, arm: Arm) -> str:
        """Arms without defect categories cannot take part."""
        return "" if arm.labelled else "its defects have no category, so no classifier of defects can learn from it"

    def obstacle(self, data: PartitionData) -> str:
        """Every partition will do."""
        return ""

    def trials(self, arm: Arm) -> list[Trial]:
        """One for each ratio, if the arm mixes images, and training seed."""
        if self.exclusion(arm):
            return []
        return [Trial(r, s) for r in self._protocol.ratios_of(arm) for s in range(self._protocol.seeds)]

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> ClassificationResult:
        """Train one classifier and score it on the test images."""
        data = arm_data.data
        trained = train_classifier(
            arm_data.training_mix(trial.ratio), data.context.validation, self._config, trial.seed,
            device=self._device, progress=lambda done, total, _: progress(done, total),
        )  # fmt: skip
        test = data.test
        probabilities = trained.probabilities(test.images)
        scores = score(test.labels, probabilities, test.classes)
        return ClassificationResult(
            **arm_data.described(trial, trained.steps, trained.seconds),
            num_test=len(test), test_names=test.names,
            accuracy=scores.accuracy, interval=wilson_interval(int(np.trace(scores.confusion)), len(test)),
            macro_f1=scores.macro_f1, recall=scores.recall,
            confusion=tuple(tuple(row) for row in scores.confusion.tolist()),
            calibration_error=scores.calibration_error,
            classes=test.classes, choice=trained.choice, curve=trained.curve,
            labels=tuple(test.labels.tolist()), predictions=tuple(scores.predictions.tolist()),
            probabilities=tuple(tuple(round(p, 4) for p in row) for row in probabilities.tolist()),
        )  # fmt: skip

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Accuracy, paired comparisons, recall of each class."""
        return [
            _accuracy_table(results, category),
            *comparison_tables(results, category, cls.name, cls.compared_figure),
            _recall_table(results, category),
        ]


def _accuracy_table(results: BenchmarkResults, category: str) -> ReportTable:
    """Accuracy in each partition, and the other figures over all of them."""
    summaries = accuracy_summaries(results, category)
    names = list(dict.fromkeys(name for summary in summaries for name in summary.partitions))
    rows = tuple(
        (s.arm, *s.percents(names), s.mean_percent, percent(mean_of(s.results, "macro_f1")),
         percent(mean_of(s.results, "calibration_error")), str(max(r.num_synthetic for r in s.results)),
         str(max(r.num_distinct for r in s.results)))
        for s in summaries
    )  # fmt: skip
    head = ("arm", *names, "mean", "macro-F1", "ECE", "generated", "distinct")
    return ReportTable("Classification", head, rows, _accuracy_note(results, category) if rows else "")


def _accuracy_note(results: BenchmarkResults, category: str) -> str:
    found = [result for result in results.classification if result.category == category]
    classifier, first = results.protocol["classifier"], found[0]
    start = f"starting from {classifier['weights']}" if results.weights else "from scratch"
    if not first.num_validation:
        choice = "the last step is scored, since the base set is too small for a validation part"
    elif classifier["evaluations"] == 1 and len(classifier["learning_rates"]) == 1:
        choice = "the last step is scored, nothing is chosen"
    else:
        choice = (
            "step and learning rate are chosen by balanced accuracy on the validation part of the base set, in every "
            "orientation"
        )
    counts = {
        part: number_range([getattr(result, f"num_{part}") for result in found])
        for part in ("train", "validation", "test")
    }
    return (
        f"Accuracy in % on unseen real images, mean over {plural(results.protocol['seeds'], 'training seed')}; "
        f"mean ± standard deviation over partitions. {classifier['architecture']} {start}, "
        f"{results.product(category).resolution} px, {first.steps} steps of {classifier['batch']} images in every arm; "
        f"{choice}. Real images: {counts['train']} for training, {counts['validation']} for validation, "
        f"{counts['test']} for the test; chance is {percent(1 / len(first.classes))}."
    )


def _recall_table(results: BenchmarkResults, category: str) -> ReportTable:
    """Share of each class that was recognised."""
    recalls = {s.arm: mean_recall(s.results) for s in accuracy_summaries(results, category)}
    classes = tuple(next(iter(recalls.values()), {}))
    rows = tuple(
        (arm, *("-" if value is None else percent(value) for value in recall.values()))
        for arm, recall in recalls.items()
    )
    return ReportTable("Recall of each class, %", ("arm", *classes), rows)
