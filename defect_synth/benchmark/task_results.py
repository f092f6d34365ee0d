"""What each task measures on one partition, as records that are checked when written and when read."""

from __future__ import annotations

from typing import Annotated, NamedTuple, Self

from pydantic import ConfigDict, Field, FiniteFloat, model_validator

from defect_synth.benchmark.statistics import Interval
from defect_synth.config import Frozen, Name, Text

MOST_CLASSES = 64

# Records are read again by `--report-only`, from files that anybody may have written.
Count = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[float, Field(ge=0, le=1e10)]
Share = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]
"""0 to 1, but for rounding."""


class FrozenRecord(Frozen):
    """A record of a measurement; what is only shown may be NaN, as the loss of a training that diverged."""

    model_config = ConfigDict(allow_inf_nan=True)


class TaskResult(FrozenRecord):
    """What a task measured on one partition.

    Attributes:
        category: Object category.
        partition: Name of the partition.
        seconds: Wall time.
    """

    category: Name
    partition: Text
    seconds: Seconds


class ArmResult(TaskResult):
    """A network that was trained on the images of one arm and tested on real images.

    Attributes:
        arm: Name of the arm.
        ratio: Generated images per real one in a batch; None if the arm does not mix them.
        seed: Training seed.
        source: Class and digest of what generated the images; empty if there are none.
        synthetic_digest: SHA-256 of the generated images, labels and masks.
        num_train: Number of real training images.
        num_validation: Number of real validation images.
        num_synthetic: Number of generated images.
        num_distinct: Number of generated images that differ in at least one pixel.
        num_test: Number of test images.
        steps: Optimiser steps.
        test_names: Names of the test images.
        seconds_of_source: Wall time of making the source and drawing its images; 0 if another arm had done so already.
    """

    arm: Text
    ratio: float | None = Field(gt=0, le=1e6)
    seed: Count
    source: Text
    synthetic_digest: Text
    num_train: Count
    num_validation: Count
    num_synthetic: Count
    num_distinct: Count
    num_test: Count
    steps: Count
    test_names: tuple[str, ...]
    seconds_of_source: Seconds

    @property
    def label(self) -> str:
        """Name of the arm, with the ratio unless it is one to one."""
        return self.arm if self.ratio in (None, 1.0) else f"{self.arm}, {self.ratio:g} : 1"

    @property
    def values(self) -> list[float]:
        """The figure that arms are compared by, 0..1, for each of `test_names`."""
        raise NotImplementedError


class AnswersResult(ArmResult):
    """The answers of a classifier.

    Attributes:
        accuracy: Share of correct answers.
        interval: 95 % Wilson interval of `accuracy`.
        macro_f1: Mean F1 over the classes of the test images.
        recall: Class -> share of its test images that were recognised; None if there are none.
        classes: Names of the labels.
        labels: True label of each of `test_names`.
        predictions: The answers.
    """

    accuracy: Share
    interval: Interval
    macro_f1: Share
    recall: dict[Text, Share | None]
    classes: tuple[Text, ...] = Field(min_length=1, max_length=MOST_CLASSES)
    labels: tuple[Count, ...]
    predictions: tuple[Count, ...]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not len(self.labels) == len(self.predictions) == len(self.test_names):
            raise ValueError("labels, predictions and test_names differ in length")
        if max((*self.labels, *self.predictions), default=0) >= len(self.classes):
            raise ValueError(f"a label or a prediction is none of the {len(self.classes)} classes")
        if set(self.recall) != set(self.classes):
            raise ValueError("recall and classes name different labels")
        return self

    @property
    def values(self) -> list[float]:
        """1 for each correct answer, 0 for each wrong one."""
        return [float(answer == label) for answer, label in zip(self.predictions, self.labels, strict=True)]


class CurvePoint(NamedTuple):
    """One evaluation of a classifier in training; the training loss is the mean since the previous evaluation."""

    learning_rate: float
    step: Count
    train_loss: float
    validation_accuracy: Share | None
    validation_loss: float | None


class ClassificationResult(AnswersResult):
    """The answers of a trained classifier.

    Attributes:
        confusion: Rows are the truth, columns the answers.
        calibration_error: Expected calibration error, ten bins.
        choice: Step and learning rate that the validation images chose.
        curve: Every step that they could have chosen.
        probabilities: Softmax outputs, rounded to four digits.
    """

    confusion: tuple[tuple[Count, ...], ...]
    calibration_error: Share
    choice: CurvePoint
    curve: tuple[CurvePoint, ...] = Field(min_length=1)
    probabilities: tuple[tuple[float, ...], ...]

    @model_validator(mode="after")
    def _square(self) -> Self:
        if {len(self.classes)} != {len(self.confusion), *(len(row) for row in self.confusion)}:
            raise ValueError(f"confusion must be {len(self.classes)} rows of {len(self.classes)} numbers")
        return self


class ProbeResult(AnswersResult):
    """The answers of a linear probe; its loss is convex, so `steps` and `seed` are 0.

    Attributes:
        network: Name of the network that computed the features.
    """

    network: Text


class DetectionResult(ArmResult):
    """The maps and image scores of a head on frozen features; `test_names` are the defective test images.

    Attributes:
        network: Name of the network that computed the features.
        threshold: Of the maps, for F1 and IoU.
        auroc: Of the image scores; this and the next three as in `detection_scores`.
        image_average_precision: Of the image scores.
        false_alarms: Good images of 1,000.
        escapes: Share of the defective images.
        average_precision: Pixel AP; this and the next three as in `segmentation_scores`.
        f1: Pixel F1.
        iou: Pixel IoU.
        pro: Per-region overlap.
        per_image: IoU of each defective test image.
        scores: Of each defective test image.
        good_names: Good test images.
        good_scores: Their scores.
    """

    network: str
    threshold: float
    auroc: float
    image_average_precision: float
    false_alarms: float
    escapes: float
    average_precision: float
    f1: float
    iou: float
    pro: float
    per_image: tuple[float, ...]
    scores: tuple[float, ...]
    good_names: tuple[str, ...]
    good_scores: tuple[float, ...]

    @property
    def values(self) -> list[float]:
        """IoU of each image."""
        return list(self.per_image)


class SegmentationResult(ArmResult):
    """The masks of a U-Net; figures as in `segmentation_scores`.

    Attributes:
        threshold: Chosen on the validation images; F1, IoU and `per_image` are measured at it.
        average_precision: Pixel AP.
        f1: Pixel F1.
        iou: Pixel IoU.
        best_f1: Highest pixel F1 over all thresholds.
        pro: Per-region overlap.
        per_image: IoU of each of `test_names`.
    """

    threshold: FiniteFloat
    average_precision: Share
    f1: Share
    iou: Share
    best_f1: Share
    pro: Share
    per_image: tuple[Share, ...]

    @property
    def values(self) -> list[float]:
        """IoU of each image."""
        return list(self.per_image)


class ThresholdRule(FrozenRecord):
    """One way to set the threshold of a detector, and the image F1 that it gives on the test images."""

    rule: Text
    threshold: FiniteFloat
    f1: Share
    num_defects: Count


class ThresholdResult(TaskResult):
    """An anomaly detector trained on good images, with its threshold set in several ways.

    Attributes:
        detector: What the detector is.
        auroc: Area under the ROC curve of the test images.
        rules: The ways of setting the threshold.
        test_names: Test images, good ones first.
        is_defect: Truth.
        scores: Anomaly scores, rounded to five digits.
    """

    detector: Text
    auroc: Share
    rules: tuple[ThresholdRule, ...]
    test_names: tuple[str, ...]
    is_defect: tuple[bool, ...]
    scores: tuple[FiniteFloat, ...]


class DefectFigures(FrozenRecord):
    """Quality of the generated images of one defect; None where a figure could not be computed.

    Attributes:
        defect: Defect category.
        generated: Images measured.
        available: How many different images the system can make; None: as many as there are seeds.
        distance: Distance to the training images, under the name that `QualityResult` gives it.
        distance_low: Lower end of its 95 % interval.
        distance_high: Upper end of it.
        spread: Distance within clusters of generated images, under the name that `QualityResult` gives it, by the
            `corrected` protocol.
        spread_official: The same as the authors' program computes it; None for stand-ins.
        nearest: Distance of generated images to the nearest training image, divided by that of held-out real images:
            about 1 for new images, near 0 for copies.
        nearest_low: Lower end of its 95 % interval.
        nearest_high: Upper end of it.
        closer: Share of generated images that are closer to a training image than any held-out image is.
    """

    defect: Name
    generated: Count
    available: Count | None
    distance: FiniteFloat | None
    distance_low: FiniteFloat | None
    distance_high: FiniteFloat | None
    spread: FiniteFloat | None
    spread_official: FiniteFloat | None
    nearest: FiniteFloat | None
    nearest_low: FiniteFloat | None
    nearest_high: FiniteFloat | None
    closer: Share | None


class QualityResult(TaskResult):
    """Table 1 of the paper (Duan et al. 2023) for one system on one partition, measured on whole images.

    Attributes:
        arm: Name of the arm.
        source: Class and digest of what generated the images.
        distance: Name of that figure: KID only with the published network.
        spread: Name of that figure: LPIPS only with the published weights.
        defects: Figures of each defect.
        skipped: What could not be computed, and why.
    """

    arm: Text
    source: Text
    distance: Text
    spread: Text
    defects: tuple[DefectFigures, ...]
    skipped: tuple[Text, ...]
