"""The interface of a task: which arms it takes, how many trials each of them has, one trial, its record, its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.downstream.batches import TrainingMix
from defect_synth.benchmark.labelled import with_one_label
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.synthetic_images import ImageDrawer, SyntheticImages
from defect_synth.benchmark.tables.report_table import ReportTable
from defect_synth.benchmark.task_results import TaskResult


class Trial(NamedTuple):
    """One trial of a task with one arm.

    Attributes:
        ratio: Generated images per real one in a batch.
        seed: Training seed.
    """

    ratio: float
    seed: int = 0


@dataclass(frozen=True, eq=False)
class ArmData:
    """What all trials of one arm on one partition have in common.

    Attributes:
        data: The images of the partition.
        arm: The arm.
        drawer: Draws the generated images of the arm when they are first needed.
    """

    data: PartitionData
    arm: Arm
    drawer: ImageDrawer

    @property
    def synthetic(self) -> SyntheticImages:
        """The generated images of the arm.

        Raises:
            ArmNotPossible: They cannot be made on this partition.
        """
        return self.drawer.images_of(self.arm)

    def training_mix(self, ratio: float) -> TrainingMix:
        """The images that networks of this arm are trained on."""
        base = self.data.context.base
        share = ratio / (1 + ratio) if self.arm.mixes else self.arm.share
        real = base if self.arm.labelled else with_one_label(base)
        return TrainingMix(real, self.synthetic.arrays, share, self.arm.sampling)

    def described(self, trial: Trial, steps: int, seconds: float) -> dict[str, Any]:
        """The fields that every `ArmResult` has, except for the test images."""
        synthetic, context = self.synthetic, self.data.context
        arrays, validation = synthetic.arrays, context.validation
        return dict(
            category=context.category, partition=context.partition, arm=self.arm.name,
            ratio=trial.ratio if self.arm.mixes else None, seed=trial.seed, source=synthetic.source,
            synthetic_digest="" if arrays is None else arrays.digest,
            num_train=len(context.base), num_validation=0 if validation is None else len(validation),
            num_synthetic=0 if arrays is None else len(arrays), num_distinct=0 if arrays is None else arrays.distinct,
            steps=steps, seconds=seconds, seconds_of_source=synthetic.seconds,
        )  # fmt: skip


class Task(Protocol):
    """A task of the benchmark; `tasks.all_tasks.TASKS` lists all of them.

    Attributes:
        name: The field of `BenchmarkResults` that holds its results; also in keys of the result store and in messages.
        length: Estimated time of one trial, in classifier trainings.
        record: Type of its results.
        compared_figure: The figure that arms are compared by, as the report calls it; empty if they are not compared.
    """

    name: ClassVar[str]
    length: ClassVar[float]
    record: ClassVar[type[TaskResult]]
    compared_figure: ClassVar[str]

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self | None:
        """The task as the protocol wants it; None if the protocol leaves it out.

        Args:
            protocol: The protocol.
            device: Where networks are trained.
            output: Folder of the benchmark, for caches.
        """
        ...

    @property
    def settings(self) -> Any:
        """JSON values that decide its results besides those of the protocol that concern every task."""
        ...

    def exclusion(self, arm: Arm) -> str:
        """Why an arm cannot take part, whatever the data; empty if it can."""
        ...

    def obstacle(self, data: PartitionData) -> str:
        """Why the task cannot be done on a partition, as a note of the report; empty if it can."""
        ...

    def trials(self, arm: Arm) -> Sequence[Trial]:
        """The trials of an arm; none if it does not take part."""
        ...

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> TaskResult:
        """Run one trial.

        Raises:
            ArmNotPossible: The arm cannot run on this partition.
        """
        ...

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Its tables of the report; those without rows are left out."""
        ...
