"""The task `probe`: train one linear layer on the features of a frozen network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.downstream.classifier_scores import score
from defect_synth.benchmark.downstream.linear_probe import (
    ProbeConfig,
    features_of,
    load_probe_network,
    real_views,
    train_probe,
)
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.statistics import wilson_interval
from defect_synth.benchmark.tables.comparison_tables import comparison_tables
from defect_synth.benchmark.tables.report_table import ReportTable, percent
from defect_synth.benchmark.tables.summary import mean_of, mean_recall, probe_summaries
from defect_synth.benchmark.task_results import ProbeResult, TaskResult
from defect_synth.benchmark.tasks.task import ArmData, Trial
from defect_synth.metrics.features import FeatureExtractor


@dataclass(frozen=True, eq=False)
class RealFeatures:
    """Features of the real images of one partition, which its probes share.

    Attributes:
        data: The partition.
        base: Features of the base images in every orientation, float32 [N, D].
        base_labels: Their labels, int64 [N].
        test: Features of the test images, float32 [M, D].
    """

    data: PartitionData
    base: Tensor
    base_labels: NDArray[np.int64]
    test: Tensor


class ProbeTask:
    """Train a linear probe on the images of an arm and let it answer for the test images."""

    name: ClassVar[str] = "probe"
    length: ClassVar[float] = 0.3
    record: ClassVar[type[TaskResult]] = ProbeResult
    compared_figure: ClassVar[str] = "accuracy of the linear probe"

    def __init__(self, protocol: BenchmarkProtocol, config: ProbeConfig, device: str) -> None:
        self._protocol, self._config, self._device = protocol, config, device
        self._loaded_network: FeatureExtractor | None = None
        self._last_features: RealFeatures | None = None

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self | None:
        """None without a section `[probe]`."""
        return None if protocol.probe is None else cls(protocol, protocol.probe, device)

    @property
    def settings(self) -> Any:
        """The network, the weight decay, and the orientations of the real images."""
        classifier = self._protocol.classifier
        return [self._network.digest, self._config.weight_decay, classifier.flip, classifier.rotate90]

    def exclusion(self, arm: Arm) -> str:
        """Empty: the classification task names the arms without defect categories, which take no part here either."""
        return ""

    def obstacle(self, data: PartitionData) -> str:
        """Every partition will do."""
        return ""

    def trials(self, arm: Arm) -> list[Trial]:
        """One for each ratio, if the arm mixes images; the loss is convex, so one seed is enough."""
        return [Trial(ratio) for ratio in self._protocol.ratios_of(arm)] if arm.labelled else []

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> ProbeResult:
        """Train one probe and score it on the test images."""
        started = time.perf_counter()
        real = self._features(arm_data.data)
        images = arm_data.synthetic.arrays
        synthetic = None if images is None else features_of(self._network, images.images, progress)
        mix = arm_data.training_mix(trial.ratio)
        probe = train_probe(mix, (real.base, real.base_labels), synthetic, self._config)
        test = arm_data.data.test
        scores = score(test.labels, probe.probabilities(real.test), test.classes)
        return ProbeResult(
            **arm_data.described(trial, 0, time.perf_counter() - started),
            num_test=len(test), test_names=test.names, network=self._network.name,
            accuracy=scores.accuracy, interval=wilson_interval(int(np.trace(scores.confusion)), len(test)),
            macro_f1=scores.macro_f1, recall=scores.recall, classes=test.classes,
            labels=tuple(test.labels.tolist()), predictions=tuple(scores.predictions.tolist()),
        )  # fmt: skip

    @property
    def _network(self) -> FeatureExtractor:
        if self._loaded_network is None:
            self._loaded_network = load_probe_network(self._config, self._device)
        return self._loaded_network

    def _features(self, data: PartitionData) -> RealFeatures:
        if self._last_features is None or self._last_features.data is not data:
            classifier = self._protocol.classifier
            images, labels = real_views(data.context.base, flip=classifier.flip, rotate90=classifier.rotate90)
            base, test = (features_of(self._network, each) for each in (images, data.test.images))
            self._last_features = RealFeatures(data, base, labels, test)
        return self._last_features

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Paired comparisons, and accuracy with the recall of each class."""
        comparisons = comparison_tables(results, category, cls.name, cls.compared_figure)
        return [*comparisons, _accuracy_table(results, category)]


def _accuracy_table(results: BenchmarkResults, category: str) -> ReportTable:
    summaries = probe_summaries(results, category)
    if not summaries:
        return ReportTable("Linear probe", ("arm",), ())
    names = list(dict.fromkeys(name for summary in summaries for name in summary.partitions))
    recalls = [mean_recall(summary.results) for summary in summaries]
    rows = tuple(
        (s.arm, *s.percents(names), s.mean_percent, percent(mean_of(s.results, "macro_f1")),
         *("-" if value is None else percent(value) for value in recall.values()))
        for s, recall in zip(summaries, recalls, strict=True)
    )  # fmt: skip
    note = (
        f"Accuracy in %; one linear layer on {summaries[0].results[0].network}, frozen; weight decay "
        f"{results.protocol['probe']['weight_decay']:g}, all orientations of the real images. The loss is convex, so "
        "there is no step, rate or training seed to choose. Columns on the right: recall of each class."
    )
    return ReportTable("Linear probe", ("arm", *names, "mean", "macro-F1", *recalls[0]), rows, note)
