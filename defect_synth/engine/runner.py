"""The one runner under all methods: check the data, open the run folder, train the stages, share out the time."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from defect_synth.atomic import writing_alone
from defect_synth.data.check import check, require_trainable
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.engine.distributed import processes
from defect_synth.engine.loop import Ended, Report, run
from defect_synth.engine.run_folder import open_run_folder
from defect_synth.engine.snapshot import STATE
from defect_synth.engine.stage import Stage
from defect_synth.errors import DataError, UnknownDefectError

log = logging.getLogger(__name__)

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class TrainingRequest:
    """What to train on, and where to put the result.

    Attributes:
        table: All images of the category.
        partition: Which of them may be learnt from; nothing else is read.
        output: Run folder.
        defects: Defect categories; None: all of the partition.
        device: Where to train.
        resume: Continue what is in `output`.
        minutes: Time budget for this call; None: until all stages are complete.
        report: Called after every iteration.
    """

    table: Table
    partition: Partition
    output: Path
    defects: Sequence[str] | None = None
    device: torch.device = CPU
    resume: bool = False
    minutes: float | None = None
    report: Report | None = None

    @property
    def chosen_defects(self) -> tuple[str, ...]:
        """The defect categories to train on, sorted.

        Raises:
            UnknownDefectError: The category has no such defect.
            DataError: There is none.
        """
        known = tuple(sorted(self.partition.defects))
        chosen = known if self.defects is None else tuple(sorted(set(self.defects)))
        for defect in chosen:
            if defect not in known:
                raise UnknownDefectError(defect, self.table.category, known)
        if not chosen:
            raise DataError(f"{self.table.root} has no defect images to train on; expected test/<defect>/ with masks")
        return chosen


@dataclass(frozen=True)
class Step:
    """One stage of a method's training.

    Attributes:
        name: `backbone`, `painter`, or a defect category.
        folder: Where the stage writes, relative to the run folder.
        build: Makes the stage; it may read what earlier steps have written.
        share: Part of the time budget, relative to the steps that are still to come.
        basis: Later steps build on its result, so it is left alone as soon as one of them has begun.
    """

    name: str
    folder: str
    build: Callable[[], Stage]
    share: float = 1.0
    basis: bool = False


class Method(Protocol):
    """A way to train a generator; its settings are in the object."""

    @property
    def method(self) -> str:
        """Name on the command line, in `run.json` and in `Provenance.method`."""
        ...

    def described(self) -> dict[str, Any]:
        """The settings as plain values for `run.json`."""
        ...

    @property
    def must_match(self) -> tuple[str, ...]:
        """Which entries of `described` a resumed run must share; snapshots compare the rest."""
        ...

    def require_possible(self, request: TrainingRequest) -> None:
        """Refuse what cannot be trained before anything is written.

        Raises:
            DefectSynthError: Names what is wrong and what to do.
        """
        ...

    def steps(self, request: TrainingRequest) -> Sequence[Step]:
        """What to train, in order; called once the run folder is open."""
        ...


def train(method: Method, request: TrainingRequest) -> dict[str, Ended]:
    """Train a method into `request.output`; how each of its steps ended, by name.

    Where this process is one of several (see `distributed`), all of them call this with the same arguments, and
    `request.output` must be one folder that all of them see.

    Raises:
        DataError: The images have errors that `defect-synth check` would name, or there is nothing to learn from.
        CheckpointError: The output holds another run, or one and `request.resume` is false.
        UnknownDefectError: A defect that the category does not have.
        ConfigError: Settings that do not fit the data, the device or the number of processes.
        OutputError: Another call is training into `request.output`, or it cannot be written.
    """
    started = time.monotonic()
    table, partition, output = request.table, request.partition, request.output
    chosen = request.chosen_defects
    require_trainable(check(table), chosen)
    partition.require_match(table)
    method.require_possible(request)
    described = {
        "method": method.method,
        "category": table.category,
        "data": str(table.root),
        "partition": partition.name,
        "defects": list(chosen),
        "threads": torch.get_num_threads(),
        **method.described(),
    }
    same = ("method", "category", "partition", *method.must_match)
    team = processes()
    with contextlib.ExitStack() as held:

        def enter() -> None:
            held.enter_context(writing_alone(output))
            open_run_folder(output, partition, described, same, resume=request.resume)

        team.from_first(enter)
        return _run_steps(method, request, started)


def _run_steps(method: Method, request: TrainingRequest, started: float) -> dict[str, Ended]:
    """Train the steps of a method that have time left; `started` is when the call began, in monotonic seconds."""
    team, output = processes(), request.output
    steps = list(method.steps(request))
    ended: dict[str, Ended] = {}
    for number, step in enumerate(steps):
        if step.basis and team.from_first(partial(_is_built_on, output, steps, number)):
            log.info("the %s is kept as it is: later stages were trained on it already", step.name)
            continue
        budget = None
        if request.minutes is not None:
            left = max(0.0, request.minutes - (time.monotonic() - started) / 60)
            budget = left * step.share / sum(other.share for other in steps[number:])
        ended[step.name] = run(
            step.build(), output / step.folder, resume=request.resume, minutes=budget, report=request.report
        )
    return ended


def _is_built_on(output: Path, steps: Sequence[Step], number: int) -> bool:
    """Whether a step has a snapshot, and so has one that comes after it, in this call or in an earlier one."""
    so_far = {output / step.folder for step in steps[: number + 1]}
    there = {file.parent for file in output.rglob(STATE)}
    return output / steps[number].folder in there and not there <= so_far
