"""What a benchmark measured, as records that are checked when they are written and when they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from defect_synth.benchmark.statistics import Interval
from defect_synth.benchmark.tasks.classify import CurvePoint
from defect_synth.config import validated
from defect_synth.errors import DataError

FORMAT = 1
_TIMES = ("seconds", "seconds_of_source")
"""Names of the fields that differ between two runs of the same thing."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Environment(_Frozen):
    """Where it ran."""

    versions: dict[str, str]
    device: str
    hardware: str
    cores: int
    threads: int
    system: str


class ProductRecord(_Frozen):
    """The images of one category."""

    category: str
    procedural: bool
    about: str
    resolution: int
    good: int
    defects: dict[str, int]


class GeneratorRecord(_Frozen):
    """A generator of one partition; `how` is trained, given or shipped."""

    category: str
    partition: str
    generator: str
    how: str
    digest: str
    about: str
    seconds: float


class ArmRecord(_Frozen):
    """An arm, and why it is missing from a partition or a task where it is.

    Attributes:
        missing: Category and partition -> reason.
        absent: Task -> reason.
        masks: As in `arms.Arm`.
        system: As in `arms.Arm`.
    """

    name: str
    about: str
    missing: dict[str, str]
    absent: dict[str, str] = {}
    masks: str = "exact"
    system: str = ""


class GalleryRecord(_Frozen):
    """Samples of an arm in a picture: generated, with outline, nearest real base image.

    Attributes:
        file: Relative to the results.
        defects: Of each column.
        distances: To the nearest base image of the same defect, RMS of 0..255 at 32 x 32 pixels, each column.
        typical: Median of that distance over all generated images.
        real: Median of that distance between each base image and its nearest other one; None for single images.
    """

    category: str
    partition: str
    arm: str
    file: str
    defects: tuple[str, ...]
    distances: tuple[float, ...]
    typical: float
    real: float | None


class _Cell(_Frozen):
    """One arm on one partition with one training seed.

    Attributes:
        ratio: Generated images per real one in a batch; None where they do not mix.
        source: Class and digest of what generated the images; empty without.
        synthetic_digest: SHA-256 of the generated images, labels and masks.
        num_distinct: Generated images that differ in at least one pixel.
        seconds: Wall time of the training.
        seconds_of_source: Wall time of making the source and drawing its images; 0 where another arm had done so.
    """

    category: str
    partition: str
    arm: str
    ratio: float | None
    seed: int
    source: str
    synthetic_digest: str
    num_train: int
    num_validation: int
    num_synthetic: int
    num_distinct: int
    num_test: int
    steps: int
    test_names: tuple[str, ...]
    seconds: float
    seconds_of_source: float

    @property
    def label(self) -> str:
        """The arm, with its ratio unless that is one to one."""
        return self.arm if self.ratio in (None, 1.0) else f"{self.arm}, {self.ratio:g} : 1"


class ClassificationCell(_Cell):
    """A classifier's answers.

    Attributes:
        interval: 95 % Wilson interval of `accuracy`.
        calibration_error: Expected calibration error, ten bins.
        choice: Step and learning rate that the validation images chose.
        curve: Every step they could have chosen.
        labels: Truth of `test_names`.
        predictions: The answers.
        probabilities: Softmax, rounded to four digits.
    """

    accuracy: float
    interval: Interval
    macro_f1: float
    recall: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    classes: tuple[str, ...]
    choice: CurvePoint
    curve: tuple[CurvePoint, ...]
    labels: tuple[int, ...]
    predictions: tuple[int, ...]
    probabilities: tuple[tuple[float, ...], ...]

    @property
    def values(self) -> list[float]:
        """Whether each answer is right."""
        return [float(answer == label) for answer, label in zip(self.predictions, self.labels, strict=True)]


class SegmentationCell(_Cell):
    """A U-Net's masks; figures as in `segmentation_scores`, at the threshold that the validation images chose.

    Attributes:
        per_image: IoU of each of `test_names`.
    """

    threshold: float
    average_precision: float
    f1: float
    iou: float
    best_f1: float
    pro: float
    per_image: tuple[float, ...]

    @property
    def values(self) -> list[float]:
        """IoU of each image."""
        return list(self.per_image)


class ProbeCell(_Cell):
    """A linear probe's answers; `steps` is 0 and `seed` too: its loss is convex.

    Attributes:
        network: What made the features.
        interval: 95 % Wilson interval of `accuracy`.
        labels: Truth of `test_names`.
        predictions: The answers.
    """

    network: str
    accuracy: float
    interval: Interval
    macro_f1: float
    recall: dict[str, float | None]
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    predictions: tuple[int, ...]

    @property
    def values(self) -> list[float]:
        """Whether each answer is right."""
        return [float(answer == label) for answer, label in zip(self.predictions, self.labels, strict=True)]


class ThresholdRule(_Frozen):
    """One way to set the threshold of a detector, and the image F1 it gives on the test images."""

    rule: str
    threshold: float
    f1: float
    num_defects: int


class ThresholdCell(_Frozen):
    """A detector that learnt from good images, with its threshold set in several ways.

    Attributes:
        detector: What it is.
        auroc: Area under the ROC curve of the test images.
        rules: The ways.
        test_names: Test images, good ones first.
        is_defect: Truth.
        scores: Anomaly scores, rounded.
        seconds: Wall time.
    """

    category: str
    partition: str
    detector: str
    auroc: float
    rules: tuple[ThresholdRule, ...]
    test_names: tuple[str, ...]
    is_defect: tuple[bool, ...]
    scores: tuple[float, ...]
    seconds: float


class DefectFigures(_Frozen):
    """How good the images of one defect are; None where a figure could not be computed.

    Attributes:
        generated: Images measured.
        available: How many different images the system can make; None: as many as there are seeds.
        distance: To the training images, under the cell's name for it, and the ends of its 95 % interval.
        spread: Within clusters of generated images, under the cell's name for it, as the `corrected` protocol has it.
        spread_official: The same as the authors' program has it; None for stand-ins.
        nearest: Distance of generated images to the nearest training image, over that of held-out real images: about
            1 for new images, near 0 for copies; with its 95 % interval.
        closer: Share of generated images closer to a training image than any held-out image is.
    """

    defect: str
    generated: int
    available: int | None
    distance: float | None
    distance_low: float | None
    distance_high: float | None
    spread: float | None
    spread_official: float | None
    nearest: float | None
    nearest_low: float | None
    nearest_high: float | None
    closer: float | None


class QualityCell(_Frozen):
    """Table 1 of the paper for one system on one partition, whole images.

    Attributes:
        distance: Name of that figure: KID only with the published network.
        spread: Name of that figure: LPIPS only with its weights.
        skipped: What could not be computed, and why.
    """

    category: str
    partition: str
    arm: str
    source: str
    distance: str
    spread: str
    defects: tuple[DefectFigures, ...]
    skipped: tuple[str, ...]
    seconds: float


class Comparison(_Frozen):
    """An arm against another on the same test images.

    Attributes:
        task: `classification` or `probe` (accuracy), or `segmentation` (IoU of an image).
        against: The other arm.
        difference: Mean difference, 0..1.
        low: Lower end of its 95 % interval, bootstrapped over test images.
        high: Upper end.
        p_value: Sign flips of whole images.
        p_holm: Adjusted for all arms of this category and task against the same one.
        images: Different test images.
        answers: Answers compared: images x partitions x seeds.
        partitions: How many of them.
        seeds: Training seeds.
        partitions_needed: How many partitions would show such a difference four times out of five.
        verdict: `gain` or `loss` where the interval excludes 0 and `p_holm` is below 0.05, else in words.
    """

    category: str
    task: str
    arm: str
    against: str
    difference: float
    low: float
    high: float
    p_value: float
    p_holm: float
    images: int
    answers: int
    partitions: int
    seeds: int
    partitions_needed: int | None
    verdict: str


class BenchmarkResults(_Frozen):
    """Everything: `results.json`."""

    format: int = FORMAT
    protocol: dict[str, Any]
    weights: str
    environment: Environment
    products: tuple[ProductRecord, ...]
    generators: tuple[GeneratorRecord, ...]
    arms: tuple[ArmRecord, ...]
    classification: tuple[ClassificationCell, ...]
    segmentation: tuple[SegmentationCell, ...]
    thresholds: tuple[ThresholdCell, ...]
    comparisons: tuple[Comparison, ...]
    gallery: tuple[GalleryRecord, ...]
    notes: tuple[str, ...]
    seconds: float
    quality: tuple[QualityCell, ...] = ()
    probe: tuple[ProbeCell, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check `results.json`.

        Raises:
            DataError: It cannot be read.
            ConfigError: It is something else; names what is wrong.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the results {path}: {error}") from None
        return validated(cls, values)


def without_times(values: Any) -> Any:
    """A copy of JSON values without what differs between two runs of the same thing: wall times."""
    if isinstance(values, dict):
        return {key: without_times(value) for key, value in values.items() if key not in _TIMES}
    return [without_times(value) for value in values] if isinstance(values, list) else values
