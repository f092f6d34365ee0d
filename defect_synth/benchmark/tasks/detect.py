"""The task `detection`: train a small head on frozen feature maps; it scores images and marks defects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.downstream.batches import orientations
from defect_synth.benchmark.downstream.detection_scores import detection_scores
from defect_synth.benchmark.downstream.frozen_maps import (
    FrozenMaps,
    Standardisation,
    load_frozen_maps,
    maps_of,
    masks_at_stride,
)
from defect_synth.benchmark.downstream.pixel_head import (
    HeadConfig,
    MaskedMaps,
    PixelHead,
    image_scores,
    train_pixel_head,
)
from defect_synth.benchmark.downstream.segmentation_scores import segmentation_scores
from defect_synth.benchmark.labelled import LabelledArrays, without_good
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tables.comparison_tables import comparison_tables
from defect_synth.benchmark.tables.report_table import ReportTable, percent
from defect_synth.benchmark.tables.summary import detection_summaries, mean_of
from defect_synth.benchmark.task_results import DetectionResult, TaskResult
from defect_synth.benchmark.tasks.task import ArmData, Trial
from defect_synth.metrics.installed_weights import installed_lite0
from defect_synth.samples import Pixels


@dataclass(frozen=True, eq=False)
class _RealMaps:
    """Maps of the real images of one partition, which its trials share.

    Attributes:
        data: The partition.
        standardisation: Of all maps, by the real training images.
        base: Defective base images in every orientation.
        good: Good training images, float16 [G, C, h, w].
        for_threshold: Validation images, or the base images as they are if there are none.
        test: Defective test images, then good ones, float16 [T, C, h, w].
        test_masks: uint8 [T, H, W].
        names: Of the defective test images.
        good_names: Of the good ones.
    """

    data: PartitionData
    standardisation: Standardisation
    base: MaskedMaps
    good: Tensor
    for_threshold: MaskedMaps
    test: Tensor
    test_masks: Pixels
    names: tuple[str, ...]
    good_names: tuple[str, ...]


class DetectionTask:
    """Train a head on the images of an arm; good test images are what its false alarms are counted on."""

    name: ClassVar[str] = "detection"
    pixels: ClassVar[str] = "detection, pixels"
    length: ClassVar[float] = 1.0
    record: ClassVar[type[TaskResult]] = DetectionResult
    compared_figure: ClassVar[str] = "AUROC of the images"

    def __init__(self, protocol: BenchmarkProtocol, config: HeadConfig, device: str) -> None:
        self._protocol, self._config, self._device = protocol, config, device
        self._weights = config.features or installed_lite0()
        self._network_once: FrozenMaps | None = None
        self._last: _RealMaps | None = None

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self | None:
        """None without a section `[detection]`."""
        return None if protocol.detection is None else cls(protocol, protocol.detection, device)

    @property
    def settings(self) -> Any:
        """The head's settings, the network, and the orientations of the real images."""
        classifier = self._protocol.classifier
        settings = self._config.model_dump(mode="json", exclude={"features"})
        return [settings, self._network.digest, classifier.flip, classifier.rotate90]

    def exclusion(self, arm: Arm) -> str:
        """Arms without masks cannot take part."""
        return "its images have no masks" if arm.masks == "none" else ""

    def obstacle(self, data: PartitionData) -> str:
        """Good test images are needed."""
        if data.test_good is None:
            return f"detection: {data.label} has no good test images, so there is nothing to tell defects from."
        return ""

    def trials(self, arm: Arm) -> list[Trial]:
        """One for each training seed, at the first ratio."""
        if self.exclusion(arm):
            return []
        return [Trial(self._protocol.ratios[0], seed) for seed in range(self._protocol.seeds)]

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> DetectionResult:
        """Train one head and score it on the test images."""
        real = self._real(arm_data.data)
        mix = arm_data.training_mix(trial.ratio)
        made = None if mix.synthetic is None else without_good(mix.synthetic)
        synthetic = None if made is None else self._with_masks(made.images, made.masks, real.standardisation)
        head = train_pixel_head(
            real.base, real.good, synthetic, mix.share, real.for_threshold, self._config, trial.seed, progress
        )
        return DetectionResult(
            **arm_data.described(trial, self._config.steps, head.seconds), **self._scored(head, real),
            num_test=len(real.test), test_names=real.names, good_names=real.good_names, network=self._network.name,
            threshold=head.threshold,
        )  # fmt: skip

    def _scored(self, head: PixelHead, real: _RealMaps) -> dict[str, Any]:
        """The figures of a head on the test images."""
        found = head.probabilities(real.test)
        scores = image_scores(found).round(8)  # as they are written
        defective = len(real.names)
        images = detection_scores(scores[:defective], scores[defective:])
        pixels = segmentation_scores(_enlarged(found, real.test_masks.shape[1:]), real.test_masks, head.threshold)
        return dict(
            auroc=images.auroc, image_average_precision=images.average_precision, false_alarms=images.false_alarms,
            escapes=images.escapes, average_precision=pixels.average_precision, f1=pixels.f1, iou=pixels.iou,
            pro=pixels.pro, per_image=tuple(round(value, 6) for value in pixels.per_image),
            scores=tuple(map(float, scores[:defective])),
            good_scores=tuple(map(float, scores[defective:])),
        )  # fmt: skip

    @property
    def _network(self) -> FrozenMaps:
        if self._network_once is None:
            self._network_once = load_frozen_maps(self._weights, self._config.side, self._device)
        return self._network_once

    def _real(self, data: PartitionData) -> _RealMaps:
        if self._last is None or self._last.data is not data:
            self._last = None  # frees the maps of the previous partition before those of this one are made
            self._last = self._measure_real(data)
        return self._last

    def _measure_real(self, data: PartitionData) -> _RealMaps:
        context, classifier = data.context, self._protocol.classifier
        base = _defective(context.base)
        assert base.masks is not None
        stacked = np.concatenate([base.images, base.masks[..., None]], axis=3)
        views = np.concatenate(orientations(stacked, flip=classifier.flip, rotate90=classifier.rotate90))
        chosen = base if context.validation is None else _defective(context.validation)
        test, good = _defective(data.test), data.test_good
        assert test.masks is not None
        assert good is not None
        images = np.concatenate([test.images, good.images])
        masks = np.concatenate([test.masks, np.zeros(good.images.shape[:3], np.uint8)])
        base_maps, good_maps = maps_of(self._network, views[..., :3]), maps_of(self._network, context.good.images)
        standard = Standardisation(base_maps, good_maps)
        base_masks = masks_at_stride(np.ascontiguousarray(views[..., 3]), (base_maps.shape[2], base_maps.shape[3]))
        return _RealMaps(
            data=data, standardisation=standard, base=MaskedMaps(standard.apply_(base_maps), base_masks),
            good=standard.apply_(good_maps), for_threshold=self._with_masks(chosen.images, chosen.masks, standard),
            test=standard.apply_(maps_of(self._network, images)), test_masks=masks, names=test.names,
            good_names=good.names,
        )  # fmt: skip

    def _with_masks(self, images: Pixels, masks: Pixels | None, standard: Standardisation) -> MaskedMaps:
        assert masks is not None
        maps = standard.apply_(maps_of(self._network, images))
        return MaskedMaps(maps, masks_at_stride(masks, (maps.shape[2], maps.shape[3])))

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Paired comparisons of images and pixels, and the figures of the heads."""
        return [
            *comparison_tables(results, category, cls.name, cls.compared_figure),
            *comparison_tables(results, category, cls.pixels, "IoU of an image"),
            _figures_table(results, category),
        ]


def _defective(arrays: LabelledArrays) -> LabelledArrays:
    """The images that have a defect and its mask."""
    found = without_good(arrays)
    assert found.masks is not None
    return found.select(np.flatnonzero(found.masks.any((1, 2))))


def _enlarged(found: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Maps at the size of the images, float32 [N, H, W]."""
    return np.stack([cv2.resize(each, (size[1], size[0]), interpolation=cv2.INTER_LINEAR) for each in found])


def _figures_table(results: BenchmarkResults, category: str) -> ReportTable:
    head = ("arm", "AUROC", "AP", "false alarms of 1,000 good at 95 % recall", "escapes at 1 % false alarms",
            "pixel AP", "IoU", "F1", "PRO")  # fmt: skip
    summaries = detection_summaries(results, category)
    if not summaries:
        return ReportTable("Detection", head, ())
    figures = ("escapes", "average_precision", "iou", "f1", "pro")
    rows = tuple(
        (s.arm, s.mean_percent, percent(mean_of(s.results, "image_average_precision")),
         f"{mean_of(s.results, 'false_alarms'):.0f}", *(percent(mean_of(s.results, figure)) for figure in figures))
        for s in summaries
    )  # fmt: skip
    config, first = results.protocol["detection"], summaries[0].results[0]
    note = (
        f"A head of {config['channels']} channels on {first.network} at {config['side']} px, frozen; {config['steps']} "
        f"steps of {config['batch']} images in every arm, {config['good']} of them good. An image's score is the mean "
        f"of the 1/2000 highest values of its map; {len(first.test_names)} defective and {len(first.good_names)} good "
        "test images. IoU and F1 are measured at the threshold that the validation images chose, or the base images "
        "where there are none."
    )
    return ReportTable("Detection", head, rows, note)
