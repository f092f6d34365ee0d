"""The task `thresholds`: set the threshold of an anomaly detector with the help of generated defects."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from defect_synth.benchmark.arms import REAL, Arm
from defect_synth.benchmark.downstream.anomaly_detector import ABOUT, PatchDetector, auroc, best_threshold, f1_at
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol, ThresholdConfig
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tables.report_table import ReportTable, percent
from defect_synth.benchmark.task_results import TaskResult, ThresholdResult, ThresholdRule
from defect_synth.benchmark.tasks.task import ArmData, Trial


@dataclass(frozen=True, eq=False)
class DetectorScores:
    """The detector of one partition and its scores of the real images, which all arms share.

    Attributes:
        data: The partition.
        detector: Trained on the good base images.
        held_out: Scores of held-out good images, float32 [N].
        good: Scores of good test images, float32 [M].
        defective: Scores of test images with defects, float32 [K].
        test_names: Names of the test images, good ones first.
    """

    data: PartitionData
    detector: PatchDetector
    held_out: NDArray[np.float32]
    good: NDArray[np.float32]
    defective: NDArray[np.float32]
    test_names: tuple[str, ...]

    @classmethod
    def of(cls, data: PartitionData) -> Self:
        """Train the detector of a partition and score the real images."""
        held_out, test_good, test = data.context.good_validation, data.test_good, data.test
        assert held_out is not None
        assert test_good is not None
        detector = PatchDetector(data.context.good.images)
        defective = test.select(test.where_defective())
        return cls(
            data=data,
            detector=detector,
            held_out=detector.scores(held_out.images),
            good=detector.scores(test_good.images),
            defective=detector.scores(defective.images),
            test_names=(*test_good.names, *defective.names),
        )


class ThresholdTask:
    """Set a detector's threshold on held-out good images and an arm's generated ones; measure image F1 on the test.

    The arm `real` gives the rules to compare with: the few real validation images, good images alone, and the oracle.
    """

    name: ClassVar[str] = "thresholds"
    length: ClassVar[float] = 0.3
    record: ClassVar[type[TaskResult]] = ThresholdResult
    compared_figure: ClassVar[str] = ""

    def __init__(self, config: ThresholdConfig) -> None:
        self._config = config
        self._last_scores: DetectorScores | None = None

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self | None:
        """None without a section `[threshold]`."""
        return None if protocol.threshold is None else cls(protocol.threshold)

    @property
    def settings(self) -> Any:
        """The number of generated images; which arms take part does not change the result of any."""
        return ["threshold", self._config.per_defect]

    def exclusion(self, arm: Arm) -> str:
        """Every arm can take part."""
        return ""

    def obstacle(self, data: PartitionData) -> str:
        """Good images must be held out from training, and there must be good test images."""
        if data.test_good is not None and data.context.good_validation is not None:
            return ""
        return "Anomaly thresholds: skipped, they need good images for validation and test."

    def trials(self, arm: Arm) -> list[Trial]:
        """One for the arm `real` and for each arm that the protocol lists."""
        return [Trial(1.0)] if arm.name in (REAL, *self._config.arms) else []

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> ThresholdResult:
        """Set the threshold by the rules of one arm and measure each on the test images."""
        started = time.perf_counter()
        if self._last_scores is None or self._last_scores.data is not arm_data.data:
            self._last_scores = DetectorScores.of(arm_data.data)
        scores = self._last_scores
        rules = _reference_rules(scores) if arm_data.arm.name == REAL else self._synthetic_rules(arm_data, scores)
        context = arm_data.data.context
        return ThresholdResult(
            category=context.category, partition=context.partition, detector=ABOUT,
            auroc=auroc(scores.good, scores.defective),
            rules=tuple(
                ThresholdRule(rule=rule, threshold=round(threshold, 6), num_defects=count,
                              f1=f1_at(threshold, scores.good, scores.defective))
                for rule, threshold, count in rules
            ),
            test_names=scores.test_names,
            is_defect=(*(False for _ in scores.good), *(True for _ in scores.defective)),
            scores=tuple(round(float(value), 5) for value in (*scores.good, *scores.defective)),
            seconds=time.perf_counter() - started,
        )  # fmt: skip

    def _synthetic_rules(self, arm_data: ArmData, scores: DetectorScores) -> list[tuple[str, float, int]]:
        drawn = arm_data.synthetic.arrays
        if drawn is None:
            return []
        count = self._config.per_defect * (1 if arm_data.arm.labelled else len(arm_data.data.context.defects))
        images = drawn.first_of_each_class(count).images
        threshold = best_threshold(scores.held_out, scores.detector.scores(images)).threshold
        return [(f"synthetic defects: {arm_data.arm.name}", threshold, len(images))]

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Image F1 of the detector under each rule, mean over partitions."""
        return [_rules_table([result for result in results.thresholds if result.category == category])]


def _reference_rules(scores: DetectorScores) -> list[tuple[str, float, int]]:
    """(rule, threshold, number of defect images that it saw) of the rules without generated images."""
    held_out, validation = scores.held_out, scores.data.context.validation
    rules = []
    real = np.empty(0, np.int64) if validation is None else validation.where_defective()
    if validation is not None and len(real):
        of_real = scores.detector.scores(validation.images[real])
        rules.append(("the few real validation defects", best_threshold(held_out, of_real).threshold, len(real)))
    above = float(np.nextafter(held_out.max(), np.float32(np.inf)))
    oracle = best_threshold(scores.good, scores.defective).threshold
    return [
        *rules,
        ("highest score of held-out good images", above, 0),
        ("oracle: the test images themselves", oracle, len(scores.defective)),
    ]


def one_per_partition(results: Sequence[ThresholdResult]) -> list[ThresholdResult]:
    """Join the results of all arms on a partition: rules with generated images first, those of the arm `real` last.

    Args:
        results: In the order of the arms, `real` first.
    """
    joined = []
    for place in dict.fromkeys((result.category, result.partition) for result in results):
        real, *others = [result for result in results if (result.category, result.partition) == place]
        rules = (*(rule for result in others for rule in result.rules), *real.rules)
        seconds = real.seconds + sum(result.seconds for result in others)
        joined.append(real.model_copy(update=dict(rules=rules, seconds=seconds)))
    return joined


def _rules_table(results: Sequence[ThresholdResult]) -> ReportTable:
    head = ("threshold set by", "image F1 on the test, %", "defect images")
    if not results:
        return ReportTable("Anomaly threshold", head, ())
    rows = []
    by_name: dict[str, list[ThresholdRule]] = {}
    for result in results:
        for rule in result.rules:
            by_name.setdefault(rule.rule, []).append(rule)
    for name, found in by_name.items():
        rows.append((name, percent(sum(r.f1 for r in found) / len(found)), str(max(r.num_defects for r in found))))
    area = sum(result.auroc for result in results) / len(results)
    first = results[0]
    note = (
        f"Detector: {first.detector}; image AUROC {percent(area)}. Each rule but the oracle sees held-out good images "
        f"and the defects that it names. Test: {sum(not d for d in first.is_defect)} good images and "
        f"{sum(first.is_defect)} with a defect."
    )
    return ReportTable("Anomaly threshold", head, tuple(rows), note)
