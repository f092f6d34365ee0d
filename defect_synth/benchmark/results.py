"""Everything that a benchmark measured, as one record that is checked when it is written and when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, FiniteFloat, field_validator, model_validator

from defect_synth.benchmark.task_results import (
    ClassificationResult,
    Count,
    DetectionResult,
    FrozenRecord,
    ProbeResult,
    QualityResult,
    Seconds,
    SegmentationResult,
    Share,
    ThresholdResult,
)
from defect_synth.config import Name, PathInside, PlainValues, Text, validated
from defect_synth.errors import DataError
from defect_synth.files import read_json
from defect_synth.names import names_in, printable

FORMAT = 1
_MOST, _MOST_ARMS, _MOST_PARTITIONS = 2000, 300, 1000  # records of one kind; arms with their ratios; partitions
_TIMES = ("seconds", "seconds_of_source")
"""Names of the fields that differ between two identical runs."""


Difference = Annotated[float, Field(ge=-1 - 1e-6, le=1 + 1e-6)]
"""Of two shares, but for rounding."""


class _ShownClassifier(BaseModel):
    architecture: str
    weights: str | None
    batch: Count
    evaluations: Count
    learning_rates: tuple[FiniteFloat, ...]


class _ShownProbe(BaseModel):
    weight_decay: FiniteFloat


class _ShownSegmentation(BaseModel):
    arms: tuple[str, ...]
    channels: Count
    levels: Count
    steps: Count
    batch: Count
    good_share: Share


class _ShownProtocol(BaseModel):
    """What the report shows of a protocol, which has more fields."""

    name: str
    about: str
    seeds: Count
    classifier: _ShownClassifier
    probe: _ShownProbe | None = None
    segmentation: _ShownSegmentation | None = None


class Environment(FrozenRecord):
    """The machine and the library versions that the benchmark ran with."""

    versions: dict[Text, Text]
    device: Text
    hardware: Text
    cores: Count
    threads: Count
    system: Text


class ProductRecord(FrozenRecord):
    """The images of one category.

    Attributes:
        category: Object category.
        procedural: Whether they are the embedded procedural product.
        about: One line for the report.
        resolution: Side of the square images in pixels.
        good: Number of defect-free images.
        defects: Defect category -> number of its images.
    """

    category: Name
    procedural: bool
    about: Text = Field(min_length=1)
    resolution: Count
    good: Count
    defects: dict[Name, Count]


class GeneratorRecord(FrozenRecord):
    """Where the generator of a partition came from.

    Attributes:
        category: Object category.
        partition: Name of the partition.
        generator: Its name in the paper's tables, or `painter`.
        how: `trained` in the partition, `given` by the user, or `shipped` with the package.
        digest: Of its weights.
        about: One line for the report.
        seconds: Wall time of its training.
    """

    category: Name
    partition: Text
    generator: Text
    how: Text
    digest: Text
    about: Text
    seconds: Seconds


class ArmRecord(FrozenRecord):
    """An arm, and why it is missing from a partition or excluded from a task.

    Attributes:
        name: Name of the arm.
        about: One line for the report.
        missing: Category and partition -> reason.
        absent: Task -> reason.
        masks: As in `arms.Arm`.
        system: As in `arms.Arm`.
    """

    name: Text
    about: Text
    missing: dict[Text, Text]
    absent: dict[Text, Text] = Field(default={})
    masks: Text = "exact"
    system: Text = ""


class GalleryRecord(FrozenRecord):
    """A picture of generated samples: each with its outline and with the nearest real base image.

    Attributes:
        category: Object category.
        partition: Name of the partition.
        arm: Name of the arm.
        file: Path of the picture, inside the folder of the results.
        defects: Defect category of each column.
        distances: For each column, the distance to the nearest base image of the same defect: the RMS difference of
            pixels in 0..255 at 32 x 32 pixels.
        typical: Median of that distance over all generated images.
        real: Median of that distance between each base image and the nearest other one; None if there is only one.
    """

    category: Name
    partition: Text
    arm: Text
    file: PathInside
    defects: tuple[Name, ...]
    distances: tuple[FiniteFloat, ...]
    typical: FiniteFloat
    real: FiniteFloat | None


class Comparison(FrozenRecord):
    """One arm compared with another on the same test images.

    Attributes:
        category: Object category.
        task: `classification` or `probe` (accuracy), `segmentation` or `detection, pixels` (IoU of an image), or
            `detection` (AUROC of the images).
        arm: Label of the arm.
        against: The arm that it is compared with.
        difference: Mean difference, in -1..1.
        low: Lower end of its 95 % interval, bootstrapped over test images.
        high: Upper end of it.
        p_value: From random sign flips of whole images.
        p_holm: Corrected for all arms that are compared with `against` in this category and task.
        images: Number of different test images.
        answers: Number of answers compared: images x partitions x seeds.
        partitions: Number of partitions.
        seeds: Number of training seeds.
        partitions_needed: How many partitions would show such a difference four times out of five.
        verdict: `gain` or `loss` if the interval excludes 0 and `p_holm` is below 0.05; otherwise a phrase.
    """

    category: Name
    task: Text
    arm: Text
    against: Text
    difference: Difference
    low: Difference
    high: Difference
    p_value: Share
    p_holm: Share
    images: Count
    answers: Count
    partitions: Count
    seeds: Count
    partitions_needed: int | None = Field(ge=1)
    verdict: Text


class BenchmarkResults(FrozenRecord):
    """All results of a benchmark: the content of `results.json`.

    The fields `classification`, `detection`, `probe`, `quality`, `segmentation` and `thresholds` are called as the
    tasks are.
    """

    format: int = Field(FORMAT, ge=FORMAT, le=FORMAT)
    protocol: PlainValues
    weights: Text
    environment: Environment
    products: tuple[ProductRecord, ...] = Field(max_length=100)
    generators: tuple[GeneratorRecord, ...] = Field(max_length=_MOST)
    arms: tuple[ArmRecord, ...] = Field(max_length=200)
    classification: tuple[ClassificationResult, ...]
    segmentation: tuple[SegmentationResult, ...]
    thresholds: tuple[ThresholdResult, ...] = Field(max_length=_MOST)
    comparisons: tuple[Comparison, ...] = Field(max_length=_MOST)
    gallery: tuple[GalleryRecord, ...] = Field(max_length=_MOST)
    notes: tuple[Text, ...] = Field(max_length=_MOST)
    seconds: Seconds
    quality: tuple[QualityResult, ...] = Field((), max_length=_MOST)
    probe: tuple[ProbeResult, ...] = ()
    detection: tuple[DetectionResult, ...] = ()

    @field_validator("protocol")
    @classmethod
    def _has_what_is_shown(cls, protocol: dict[str, Any]) -> dict[str, Any]:
        validated(_ShownProtocol, protocol)
        shown: dict[str, Any] = _printable(protocol)
        return shown

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for task, results in (("classification", self.classification), ("segmentation", self.segmentation),
                              ("probe", self.probe)):  # fmt: skip
            if len({result.partition for result in (*results, *self.generators)}) > _MOST_PARTITIONS:
                raise ValueError(f"{task} was measured in more than {_MOST_PARTITIONS} partitions")
            if len({result.label for result in results}) > _MOST_ARMS:
                raise ValueError(f"{task} has more than {_MOST_ARMS} arms with their ratios")
            if results and task != "classification" and self.protocol.get(task) is None:
                raise ValueError(f"{task} was measured, but protocol has no section {task}")
        for category in {result.category for result in self.quality}:
            defects = {frozenset(f.defect for f in r.defects) for r in self.quality if r.category == category}
            if len(defects) > 1:
                raise ValueError(f"quality of {category} was measured on different defects")
        if len({product.category for product in self.products}) < len(self.products):
            raise ValueError("products lists a category twice")
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check `results.json`.

        Raises:
            DataError: The file cannot be read.
            ConfigError: The file is not a benchmark's results; the message names what is wrong.
        """
        try:
            values = read_json(path)
        except DataError as error:
            raise DataError(f"cannot read the results {error}") from None
        with names_in(path):
            return validated(cls, values)

    def product(self, category: str) -> ProductRecord:
        """The record of a category's images."""
        return next(product for product in self.products if product.category == category)


def _printable(values: Any) -> Any:
    """A copy of JSON values whose texts are only shown."""
    if isinstance(values, dict):
        return {printable(key): _printable(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_printable(value) for value in values]
    return printable(values) if isinstance(values, str) else values


def without_times(values: Any) -> Any:
    """A copy of JSON values without wall times, which are all that differs between two identical runs."""
    if isinstance(values, dict):
        return {key: without_times(value) for key, value in values.items() if key not in _TIMES}
    return [without_times(value) for value in values] if isinstance(values, list) else values
