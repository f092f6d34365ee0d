"""Everything that a benchmark measured, as one record that is checked when it is written and when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field

from defect_synth.benchmark.task_results import (
    ClassificationResult,
    FrozenRecord,
    ProbeResult,
    QualityResult,
    SegmentationResult,
    ThresholdResult,
)
from defect_synth.config import validated
from defect_synth.errors import DataError
from defect_synth.files import read_json
from defect_synth.names import names_in

FORMAT = 1
_TIMES = ("seconds", "seconds_of_source")
"""Names of the fields that differ between two identical runs."""


class Environment(FrozenRecord):
    """The machine and the library versions that the benchmark ran with."""

    versions: dict[str, str]
    device: str
    hardware: str
    cores: int
    threads: int
    system: str


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

    category: str
    procedural: bool
    about: str
    resolution: int
    good: int
    defects: dict[str, int]


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

    category: str
    partition: str
    generator: str
    how: str
    digest: str
    about: str
    seconds: float


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

    name: str
    about: str
    missing: dict[str, str]
    absent: dict[str, str] = Field(default={})
    masks: str = "exact"
    system: str = ""


class GalleryRecord(FrozenRecord):
    """A picture of generated samples: each with its outline and with the nearest real base image.

    Attributes:
        category: Object category.
        partition: Name of the partition.
        arm: Name of the arm.
        file: Path of the picture, relative to the results.
        defects: Defect category of each column.
        distances: For each column, the distance to the nearest base image of the same defect: the RMS difference of
            pixels in 0..255 at 32 x 32 pixels.
        typical: Median of that distance over all generated images.
        real: Median of that distance between each base image and the nearest other one; None if there is only one.
    """

    category: str
    partition: str
    arm: str
    file: str
    defects: tuple[str, ...]
    distances: tuple[float, ...]
    typical: float
    real: float | None


class Comparison(FrozenRecord):
    """One arm compared with another on the same test images.

    Attributes:
        category: Object category.
        task: `classification` or `probe` (accuracy), or `segmentation` (IoU of an image).
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


class BenchmarkResults(FrozenRecord):
    """All results of a benchmark: the content of `results.json`.

    The fields `classification`, `probe`, `quality`, `segmentation` and `thresholds` are called as the tasks are.
    """

    format: int = FORMAT
    protocol: dict[str, Any]
    weights: str
    environment: Environment
    products: tuple[ProductRecord, ...]
    generators: tuple[GeneratorRecord, ...]
    arms: tuple[ArmRecord, ...]
    classification: tuple[ClassificationResult, ...]
    segmentation: tuple[SegmentationResult, ...]
    thresholds: tuple[ThresholdResult, ...]
    comparisons: tuple[Comparison, ...]
    gallery: tuple[GalleryRecord, ...]
    notes: tuple[str, ...]
    seconds: float
    quality: tuple[QualityResult, ...] = ()
    probe: tuple[ProbeResult, ...] = ()

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


def without_times(values: Any) -> Any:
    """A copy of JSON values without wall times, which are all that differs between two identical runs."""
    if isinstance(values, dict):
        return {key: without_times(value) for key, value in values.items() if key not in _TIMES}
    return [without_times(value) for value in values] if isinstance(values, list) else values
