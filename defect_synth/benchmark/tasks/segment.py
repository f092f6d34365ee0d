"""The task `segmentation`: train a small U-Net on defect masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.downstream.batches import TrainingMix
from defect_synth.benchmark.downstream.segmentation_scores import segmentation_scores
from defect_synth.benchmark.downstream.segmenter import SegmentConfig, train_segmenter
from defect_synth.benchmark.labelled import without_good
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tables.comparison_tables import comparison_tables
from defect_synth.benchmark.tables.report_table import ReportTable, percent
from defect_synth.benchmark.tables.summary import mean_of, segmentation_summaries
from defect_synth.benchmark.task_results import SegmentationResult, TaskResult
from defect_synth.benchmark.tasks.task import ArmData, Trial


class SegmentationTask:
    """Train a U-Net on the images of an arm and let it mark the defects of the test images, good ones included."""

    name: ClassVar[str] = "segmentation"
    length: ClassVar[float] = 0.6
    record: ClassVar[type[TaskResult]] = SegmentationResult
    compared_figure: ClassVar[str] = "IoU per image"

    def __init__(self, protocol: BenchmarkProtocol, config: SegmentConfig, device: str) -> None:
        self._protocol, self._config, self._device = protocol, config, device

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self | None:
        """None without a section `[segmentation]`."""
        return None if protocol.segmentation is None else cls(protocol, protocol.segmentation, device)

    @property
    def settings(self) -> Any:
        """The U-Net's settings; which arms take part does not change the result of any."""
        return self._config.model_dump(mode="json", exclude={"arms"})

    def exclusion(self, arm: Arm) -> str:
        """Arms without masks cannot take part."""
        return "its images have no masks" if arm.masks == "none" else ""

    def obstacle(self, data: PartitionData) -> str:
        """Every partition will do."""
        return ""

    def trials(self, arm: Arm) -> list[Trial]:
        """One for each training seed, at the first ratio, if the protocol lists the arm."""
        if self.exclusion(arm) or arm.name not in self._config.arms:
            return []
        return [Trial(self._protocol.ratios[0], seed) for seed in range(self._protocol.seeds)]

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> SegmentationResult:
        """Train one U-Net and score it on the test images."""
        data = arm_data.data
        trained = train_segmenter(
            _defects_only(arm_data.training_mix(trial.ratio)), data.context.good.images, data.context.validation,
            self._config, trial.seed, device=self._device, progress=lambda done, total, _: progress(done, total),
        )  # fmt: skip
        test = data.test
        assert test.masks is not None
        defective = np.flatnonzero(test.masks.any((1, 2)))
        images, masks = test.images[defective], test.masks[defective]
        if data.test_good is not None:
            images = np.concatenate([images, data.test_good.images])
            masks = np.concatenate([masks, data.test_good.masks])
        scores = segmentation_scores(trained.maps(images), masks, trained.threshold)
        return SegmentationResult(
            **arm_data.described(trial, self._config.steps, trained.seconds),
            num_test=len(images), test_names=tuple(test.names[i] for i in defective), threshold=trained.threshold,
            average_precision=scores.average_precision, f1=scores.f1, iou=scores.iou, best_f1=scores.best_f1,
            pro=scores.pro, per_image=tuple(round(value, 6) for value in scores.per_image),
        )  # fmt: skip

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Paired comparisons, and the pixel figures of the U-Net."""
        return [
            *comparison_tables(results, category, cls.name, cls.compared_figure),
            _pixel_table(results, category),
        ]


def _defects_only(mix: TrainingMix) -> TrainingMix:
    """Without good images, which the U-Net gets separately."""
    synthetic = None if mix.synthetic is None else without_good(mix.synthetic)
    return TrainingMix(without_good(mix.real), synthetic, mix.share, mix.sampling)


def _pixel_table(results: BenchmarkResults, category: str) -> ReportTable:
    head = ("arm", "pixel AP", "F1", "IoU", "best F1 (oracle)", "PRO")
    summaries = segmentation_summaries(results, category)
    if not summaries:
        return ReportTable("Segmentation", head, ())
    config = results.protocol["segmentation"]
    figures = ("average_precision", "f1", "iou", "best_f1", "pro")
    without = [arm.name for arm in results.arms if "segmentation" in arm.absent and arm.name in config["arms"]]
    weak_arms = {arm.name for arm in results.arms if arm.masks == "weak"}
    weak = [summary.arm for summary in summaries if summary.arm in weak_arms]
    rows = [(s.arm, *(percent(mean_of(s.results, figure)) for figure in figures)) for s in summaries]
    rows += [(name, *("-" for _ in figures)) for name in without]
    note = (
        f"Small U-Net ({config['channels']} channels, {config['levels']} levels) from scratch, {config['steps']} steps "
        f"of {config['batch']} images in every arm, {percent(config['good_share'])} % of them defect-free; all pixels "
        "of the test images, good ones included. F1 and IoU are measured at the threshold that the validation images "
        "chose; best F1 knows the test images, as it does in the literature."
        + (" '-': the system makes no masks." if without else "")
        + (f" Weak masks (a thresholded soft map of the system): {', '.join(weak)}." if weak else "")
    )
    return ReportTable("Segmentation", head, tuple(rows), note)
