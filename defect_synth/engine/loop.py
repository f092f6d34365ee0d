"""The one loop: phases with their intervals, weight averages, ADA, snapshots, logs, exact resume, several processes.

Everything a run needs to go on is one file, `state.safetensors`, replaced as a whole; random numbers are functions of
the iteration (see `draws`), so a killed run that is resumed ends with the same bytes as one that was never killed.
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
from defect_synth.engine.log import STATS, Log, Tick
from defect_synth.engine.snapshot import STATE, Snapshot
from defect_synth.engine.stage import Phase, Stage, adam
from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.nn.memory import keep_memory

__all__ = ["STATE", "STATS", "Ended", "Phase", "Progress", "Report", "Stage", "adam", "run"]

log = logging.getLogger(__name__)

Part = tuple[int, int]
"""First sample of a micro-batch, and one past its last."""


@dataclass(frozen=True)
class Progress:
    """Where a run is, for a progress bar."""

    stage: str
    done_kimg: float
    total_kimg: float
    images_per_second: float
    text: str


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Ended:
    """How a stage ended: iterations done, whether all of them, the best snapshot's score and kimg."""

    iterations: int
    complete: bool
    best_score: float | None
    best_kimg: float
    seconds: float


def run(
    stage: Stage, folder: Path, *, resume: bool, minutes: float | None = None, report: Report | None = None
) -> Ended:
    """Train a stage in `folder` until its length, its time budget or Ctrl-C, whichever comes first.

    Writes `state.safetensors`, `model.safetensors` (the best snapshot), `stats.jsonl`, TensorBoard events and sample
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
    config, team = stage.config, processes()
    size = config.micro_batch or config.batch
    parts = [(start, start + size) for start in range(0, config.batch, size)]
    mine = team.share(parts, f"{stage.name}: a batch of {config.batch}")
    total = max(1, -(-int(config.total_kimg * 1000) // config.batch))
    tick_length = max(1, int(config.snapshot_kimg * 1000) // config.batch // 4)
    snapshot_length = 4 * tick_length
    tick = Tick()
    snapshot = Snapshot(stage, folder, tick)
    first = snapshot.load() if team.from_first(lambda: _open(folder, resume)) else 0
    best_score, best_kimg = snapshot.best
    if first >= total:
        return Ended(first, True, best_score, best_kimg, 0.0)
    started = time.monotonic()
    iteration = first
    tick_started, tick_first = started, first
    logged = Log(folder, first) if team.first else None
    stop = _Stop(patient=team.world > 1)

    def kimg() -> float:
        return iteration * config.batch / 1000

    def judge() -> dict[str, float]:
        """Score the average, keep it if it is the best so far, and write all that a resumed run needs."""
        figures, score = stage.evaluate()
        if score is not None:
            figures = {**figures, "score": score}
        best = snapshot.best[0]
        if best is None or score is None or score < best:
            stage.export(folder / "model.safetensors", kimg(), score)
            snapshot.best = (score, kimg())
        stage.sample_sheet(folder / "samples" / f"{iteration:06d}.png")
        snapshot.save(iteration)
        return figures

    try:
        if first == 0 and team.first:
            stage.sample_sheet(folder / "samples" / "000000.png")
        while iteration < total:
            tick.add(_iterate(stage, iteration, parts, mine, team))
            iteration += 1
            at_end = iteration == total
            if iteration % tick_length == 0 or at_end:
                row = tick.finish() | {"ada_p": stage.ada.p}
                now = time.monotonic()
                speed = (iteration - tick_first) * config.batch / max(now - tick_started, 1e-9)
                tick_started, tick_first = now, iteration
                if logged is not None:
                    if iteration % snapshot_length == 0 or at_end:
                        row |= judge()
                    logged.write(iteration, kimg(), row, speed)
            if report is not None and team.first:
                rate = (iteration - first) * config.batch / max(time.monotonic() - started, 1e-9)
                report(Progress(stage.name, kimg(), total * config.batch / 1000, rate,
                                f"{rate:.1f} img/s, p {stage.ada.p:.2f}"))  # fmt: skip
            late = minutes is not None and time.monotonic() - started > minutes * 60
            late, asked = team.any_of((late, stop.asked), stage.device)
            if late and not at_end:
                break
            if asked:
                if team.first:
                    snapshot.save(iteration)
                team.wait()
                raise KeyboardInterrupt
        if iteration < total and iteration % snapshot_length and team.first:
            judge()  # the time budget ended between snapshots: judge and keep what there is
        if team.any_of((stop.asked,), stage.device)[0]:
            raise KeyboardInterrupt  # asked while the stage ended: all is written, but nothing else may start
        team.wait()  # what the first has written is there for all
    finally:
        stop.restore()
        if logged is not None:
            logged.close()
    best_score, best_kimg = snapshot.best
    return Ended(iteration, iteration >= total, best_score, best_kimg, time.monotonic() - started)


def _open(folder: Path, resume: bool) -> bool:
    """Whether there is a snapshot to go on from."""
    folder.mkdir(parents=True, exist_ok=True)
    there = (folder / STATE).exists()
    if there and not resume:
        raise CheckpointError(f"{folder} holds a run already; continue it with --resume or choose another --output")
    return there


def _iterate(
    stage: Stage, iteration: int, parts: Sequence[Part], mine: Sequence[Part], team: Processes
) -> dict[str, float]:
    """One iteration: every phase whose turn it is, then weight average and ADA; the means of what phases report.

    Args:
        stage: What to train.
        iteration: Its number, from 0.
        parts: The micro-batches of the batch.
        mine: Those that this process computes.
        team: All processes; each ends with the same weights.
    """
    config = stage.config
    terms: dict[str, Tensor] = {}
    for number, phase in enumerate(stage.phases):
        if iteration % phase.interval == 0:
            context = phase.prepare(Draws(stage.seed, iteration, number, stage.device), iteration)
            terms |= _step(stage, phase, context, len(parts), mine, team)
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
        return {}
    sums = torch.stack([value.to(stage.device) for value in terms.values()])
    team.sum_([sums])
    means = dict(zip(terms, (sums.cpu().double() / len(parts)).tolist(), strict=True))
    if "real_sign" in means:
        stage.ada.observe(means["real_sign"], iteration)
    return means


def _step(
    stage: Stage, phase: Phase, context: Any, num_parts: int, mine: Sequence[Part], team: Processes
) -> dict[str, Tensor]:
    """One optimiser step on the mean loss over all parts; the sums over `mine` of the numbers to report.

    Whatever a part changes besides gradients (running means) it changes from the same start, and the mean of all
    changes is taken: parts may be computed one after the other or in different processes.
    """
    _train_only(stage, phase.module)
    optimizer = stage.optimizers[stage.optimizer_of[id(phase.module)]]
    optimizer.zero_grad(set_to_none=True)
    terms: dict[str, Tensor] = {}
    scalars: dict[str, Tensor] = {}
    starts = [tensor.clone() for tensor in stage.moved] if num_parts > 1 else []
    changes = [torch.zeros_like(start) for start in starts]
    try:
        for start, stop in mine:
            outcome = phase.compute(context, start, stop)
            (outcome.loss * (phase.interval / num_parts)).backward()  # type: ignore[no-untyped-call]
            _add(terms, {name: value.detach().float() for name, value in outcome.terms.items()})
            _add(scalars, outcome.state)
            for tensor, before, change in zip(stage.moved, starts, changes, strict=False):
                change.add_(tensor - before)
                tensor.copy_(before)
    except torch.OutOfMemoryError:
        raise ConfigError(
            f"the GPU has not enough memory for {mine[0][1] - mine[0][0]} images per backward pass of {stage.name}; "
            "use --max-memory, or a smaller micro_batch, and a new --output"
        ) from None
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [p.grad for p in trained]
    with torch.no_grad():
        team.sum_([*gradients, *scalars.values(), *changes])
        for gradient in gradients:
            # What the authors' program does with a batch that went wrong: skip its broken entries.
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
    name = stage.optimizer_of[id(module)]
    for other, optimizer in stage.optimizers.items():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(other == name)


class _Stop:
    """Ctrl-C and SIGTERM wait for the end of the iteration, where a snapshot is whole; a second one does not wait."""

    def __init__(self, *, patient: bool) -> None:
        self.asked = False
        self._patient, self._when = patient, 0.0
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked:
            # A launcher passes on to each process the Ctrl-C that the terminal has sent it already.
            if self._patient and now - self._when < 5:
                return
            raise KeyboardInterrupt
        self.asked, self._when = True, now
        log.warning("stopping after this iteration ...")

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
