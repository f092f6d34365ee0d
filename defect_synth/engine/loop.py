"""The training loop: phases with their intervals, weight averages, snapshots, logs, exact resume, several processes.

All that a run needs to go on is in one file, `state.safetensors`, which is replaced as a whole. Random numbers are
functions of the iteration (see `draws`), so a run that was killed and resumed ends with the same bytes as one that was
not.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from defect_synth.engine.distributed import Processes, processes
from defect_synth.engine.draws import Draws
from defect_synth.engine.log import Log, Tick
from defect_synth.engine.snapshot import STATE, Snapshot
from defect_synth.engine.stage import Phase, Stage
from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.nn.memory import keep_memory

log = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
"""Name of the best snapshot's network in a stage's folder."""

MicroBatch = tuple[int, int]
"""First sample of a micro-batch, and one past its last."""


@dataclass(frozen=True)
class Progress:
    """How far a stage is, for a progress bar."""

    stage: str
    done_kimg: float
    total_kimg: float
    images_per_second: float
    text: str


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Ended:
    """How a stage ended.

    Attributes:
        iterations: Iterations done, by this call and earlier ones.
        complete: Whether that is all of them.
        best_score: Score of the best snapshot; None where snapshots have no score.
        best_kimg: Thousands of images after which it was taken.
        seconds: Wall-clock time of this call.
        kimg: Thousands of images that `iterations` are.
    """

    iterations: int
    complete: bool
    best_score: float | None
    best_kimg: float
    seconds: float
    kimg: float = 0.0


def run(
    stage: Stage, folder: Path, *, resume: bool, minutes: float | None = None, report: Report | None = None
) -> Ended:
    """Train a stage in `folder` until its length, its time budget or Ctrl-C, whichever comes first.

    Writes `state.safetensors`, `model.safetensors` (the best snapshot), `stats.jsonl`, TensorBoard events and contact
    sheets. A stage that is complete returns at once. Where this process is one of several (see `distributed`), all
    call this together, the first of them writes, and all stop at the same iteration.

    Raises:
        CheckpointError: The folder holds a run that cannot be continued with this configuration, or `resume` is false
            and a run is there.
        ConfigError: The processes cannot share a batch, or the GPU is too small for it.
        OutputError: Something cannot be written.
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a snapshot was written.
    """
    keep_memory()
    team = processes()
    tick = Tick()
    snapshot = Snapshot(stage, folder, tick)
    first = snapshot.load() if team.from_first(lambda: _has_snapshot(folder, resume)) else 0
    loop = _Loop(stage, folder, team, tick, snapshot, first)
    return loop.run(minutes, report)


class _Loop:
    """One call of `run`: where it is, and when it logs, takes snapshots and stops."""

    def __init__(self, stage: Stage, folder: Path, team: Processes, tick: Tick, snapshot: Snapshot, first: int) -> None:
        config = stage.config
        size = config.micro_batch or config.batch
        self.stage, self.folder, self.team, self.tick, self.snapshot = stage, folder, team, tick, snapshot
        self.parts = [(start, start + size) for start in range(0, config.batch, size)]
        self.own_parts = team.share(self.parts, f"{stage.name}: a batch of {config.batch}")
        self.total = max(1, -(-int(config.total_kimg * 1000) // config.batch))
        self.tick_length = max(1, int(config.snapshot_kimg * 1000) // config.batch // 4)
        self.first = self.iteration = self.row_first = first

    @property
    def kimg(self) -> float:
        return self.iteration * self.stage.config.batch / 1000

    def run(self, minutes: float | None, report: Report | None) -> Ended:
        if self.first >= self.total:
            return self._ended(0.0)
        started = time.monotonic()
        log_file = Log(self.folder, self.first) if self.team.first else None
        stop = _StopRequest(patient=self.team.world > 1)
        try:
            self._train(log_file, stop, started, minutes, report)
        finally:
            stop.restore()
            if log_file is not None:
                log_file.close()
        return self._ended(time.monotonic() - started)

    def _train(
        self, log_file: Log | None, stop: _StopRequest, started: float, minutes: float | None, report: Report | None
    ) -> None:
        stage, team = self.stage, self.team
        if self.first == 0 and team.first:
            stage.save_contact_sheet(self.folder / "samples" / "000000.png")
        row_started = started
        while self.iteration < self.total:
            self.tick.add(_iterate(stage, self.iteration, self.parts, self.own_parts, team))
            self.iteration += 1
            at_end = self.iteration == self.total
            if self.iteration % self.tick_length == 0 or at_end:
                now = time.monotonic()
                self._finish_row(log_file, at_end, now - row_started)
                row_started = now
            if report is not None and team.first:
                report(self._progress(time.monotonic() - started))
            late = minutes is not None and time.monotonic() - started > minutes * 60
            late, asked = team.any_of((late, stop.requested), stage.device)
            if late and not at_end:
                break
            if asked:
                if team.first:
                    self.snapshot.save(self.iteration)
                team.wait()
                raise KeyboardInterrupt
        if self.iteration < self.total and self.iteration % (4 * self.tick_length) and team.first:
            self._evaluate()  # the time budget ended between two snapshots
            self.snapshot.save(self.iteration)
        if team.any_of((stop.requested,), stage.device)[0]:
            raise KeyboardInterrupt  # during the last iteration: all is written, but no other stage may start
        team.wait()  # what the first process has written is there for all

    def _finish_row(self, log_file: Log | None, at_end: bool, seconds: float) -> None:
        """Complete a row of the log; every fourth one comes with a snapshot."""
        row = self.tick.finish() | self.stage.logged_controls()
        if log_file is None:
            return
        speed = (self.iteration - self.row_first) * self.stage.config.batch / max(seconds, 1e-9)
        self.row_first = self.iteration
        due = self.iteration % (4 * self.tick_length) == 0 or at_end
        if due:
            row |= self._evaluate()
        log_file.write(self.iteration, self.kimg, row, speed)
        if due:  # after its row: one that is newer than the snapshot is removed on resume, one that is missing is lost
            self.snapshot.save(self.iteration)

    def _evaluate(self) -> dict[str, float]:
        """Score the average, and keep it if it is the best so far."""
        figures, score = self.stage.evaluate()
        if score is not None:
            figures = {**figures, "score": score}
        best = self.snapshot.best[0]
        if best is None or score is None or score < best:
            self.stage.export(self.folder / MODEL_FILE, self.kimg, score)
            self.snapshot.best = (score, self.kimg)
        self.stage.save_contact_sheet(self.folder / "samples" / f"{self.iteration:06d}.png")
        return figures

    def _progress(self, seconds: float) -> Progress:
        batch = self.stage.config.batch
        rate = (self.iteration - self.first) * batch / max(seconds, 1e-9)
        shown = [f"{rate:.1f} img/s", *(f"{name} {value:.2f}" for name, value in self.stage.logged_controls().items())]
        return Progress(self.stage.name, self.kimg, self.total * batch / 1000, rate, ", ".join(shown))

    def _ended(self, seconds: float) -> Ended:
        score, kimg = self.snapshot.best
        return Ended(self.iteration, self.iteration >= self.total, score, kimg, seconds, self.kimg)


def _has_snapshot(folder: Path, resume: bool) -> bool:
    """Whether there is a snapshot to go on from; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    there = (folder / STATE).exists()
    if there and not resume:
        raise CheckpointError(f"{folder} holds a run already; continue it with --resume or choose another --output")
    return there


def _iterate(
    stage: Stage, iteration: int, parts: Sequence[MicroBatch], own_parts: Sequence[MicroBatch], team: Processes
) -> dict[str, float]:
    """Run one iteration: every phase whose turn it is, then the weight average; returns the mean of each logged term.

    Args:
        stage: What to train.
        iteration: Its number, from 0.
        parts: The micro-batches of the batch.
        own_parts: Those that this process computes.
        team: All processes; each ends with the same weights.
    """
    config = stage.config
    terms: dict[str, Tensor] = {}
    for number, phase in enumerate(stage.phases):
        if iteration % phase.interval == 0:
            context = phase.prepare(Draws(stage.seed, iteration, number, stage.device), iteration)
            terms |= _step(stage, phase, context, len(parts), own_parts, team)
    seen = (iteration + 1) * config.batch
    half_life = config.ema_kimg * 1000
    if config.ema_rampup is not None:
        half_life = min(half_life, seen * config.ema_rampup)
    weight = 1 - 0.5 ** (config.batch / max(half_life, 1e-8))
    with torch.no_grad():
        if stage.averaged:
            torch._foreach_lerp_([a for a, _ in stage.averaged], [s for _, s in stage.averaged], weight)
        for average, source in stage.copied:
            average.copy_(source)
    if not terms:
        stage.after_iteration({}, iteration)
        return {}
    sums = torch.stack([value.to(stage.device) for value in terms.values()])
    team.sum_([sums])
    means = dict(zip(terms, (sums.cpu().double() / len(parts)).tolist(), strict=True))
    stage.after_iteration(means, iteration)
    return means


def _step(
    stage: Stage, phase: Phase, context: Any, num_parts: int, own_parts: Sequence[MicroBatch], team: Processes
) -> dict[str, Tensor]:
    """One optimiser step on the mean loss over all parts; returns the sums over `own_parts` of the terms to log.

    Whatever a part changes besides gradients (running means) it changes from the same start, and the mean of all
    changes is taken: parts may be computed one after the other or in different processes.
    """
    _train_only(stage, phase.module)
    optimizer = stage.optimizers[stage.optimizer_of(phase.module)]
    optimizer.zero_grad(set_to_none=True)
    terms: dict[str, Tensor] = {}
    scalars: dict[str, Tensor] = {}
    starts = [tensor.clone() for tensor in stage.moved] if num_parts > 1 else []
    changes = [torch.zeros_like(start) for start in starts]
    try:
        for start, stop in own_parts:
            outcome = phase.compute(context, start, stop)
            (outcome.loss * (phase.interval / num_parts)).backward()  # type: ignore[no-untyped-call]
            _add(terms, {name: value.detach().float() for name, value in outcome.terms.items()})
            _add(scalars, outcome.state)
            for tensor, before, change in zip(stage.moved, starts, changes, strict=False):
                change.add_(tensor - before)
                tensor.copy_(before)
    except torch.OutOfMemoryError:
        raise ConfigError(
            f"the GPU has not enough memory for {own_parts[0][1] - own_parts[0][0]} images per backward pass of "
            f"{stage.name}; use --max-memory, or a smaller micro_batch, and a new --output"
        ) from None
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [p.grad for p in trained]
    with torch.no_grad():
        team.sum_([*gradients, *scalars.values(), *changes])
        for gradient in gradients:
            # As in StyleGAN2-ADA, entries that are not finite are replaced.
            torch.nan_to_num_(gradient, nan=0.0, posinf=1e5, neginf=-1e5)
        for name, value in scalars.items():
            stage.scalars[name].copy_(value / num_parts)
        for tensor, change in zip(stage.moved, changes, strict=False):
            tensor.add_(change / num_parts)
    optimizer.step()
    return terms


def _add(sums: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        sums[name] = sums[name] + value if name in sums else value.detach().clone()


def _train_only(stage: Stage, module: torch.nn.Module) -> None:
    """Gradients for one network's trained parameters only: cheaper, and nothing frozen can move."""
    name = stage.optimizer_of(module)
    for other, optimizer in stage.optimizers.items():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(other == name)


class _StopRequest:
    """Delays Ctrl-C and SIGTERM to the end of the iteration, where a snapshot is possible; a second one acts now."""

    def __init__(self, *, patient: bool) -> None:
        self.requested = False
        self._patient, self._when = patient, 0.0
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested:
            # A launcher passes Ctrl-C on to processes that the terminal has sent it to already.
            if self._patient and now - self._when < 5:
                return
            raise KeyboardInterrupt
        self.requested, self._when = True, now
        log.warning("stopping after this iteration ...")

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
