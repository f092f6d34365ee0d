"""The one loop: phases with their intervals, weight averages, ADA, snapshots, logs, exact resume.

Everything a run needs to go on is one file, `state.safetensors`, replaced as a whole; random numbers are functions of
the iteration (see `draws`), so a killed run that is resumed ends with the same bytes as one that was never killed.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from defect_synth.atomic import replacing
from defect_synth.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from defect_synth.config import StageConfig
from defect_synth.errors import CheckpointError
from defect_synth.ops.memory import keep_memory
from defect_synth.training.augment import AdaController
from defect_synth.training.draws import Draws
from defect_synth.training.objectives import Outcome

log = logging.getLogger(__name__)

STATE = "state.safetensors"
STATS = "stats.jsonl"


@dataclass
class Phase:
    """One optimisation step of one network: what to minimise, and how often.

    Attributes:
        name: For the log.
        module: Network whose parameters move.
        interval: Iterations between steps; the loss is multiplied by it (lazy regularisation).
        prepare: Draws everything random for the whole batch.
        compute: The loss on samples start..stop of that batch.
    """

    name: str
    module: nn.Module
    interval: int
    prepare: Callable[[Draws, int], Any]
    compute: Callable[[Any, int, int], Outcome]


@dataclass
class Stage:
    """What differs between stage 1 and stage 2.

    Attributes:
        name: `backbone` or a defect.
        config: Schedule.
        phases: In order; the position is the phase's number in the random streams.
        optimizers: One Adam per trained network, by network name; shared by its main and lazy phases.
        modules: Everything with weights, by name; all of it is in the snapshot.
        averaged: Pairs (average, source) of tensors for the weight average.
        copied: Pairs (average, source) of buffers that are copied as they are.
        ada: Controller of the augmentation probability.
        scalars: Tensors that phases update, such as the path-length mean.
        ema_kimg: Half-life of the weight average.
        evaluate: At a snapshot: (numbers to log, score or None; lower is better), from the averaged generator.
        sample_sheet: Writes a sheet of samples to a path.
        export: Writes the averaged generator as a checkpoint: (path, kimg, score).
    """

    name: str
    config: StageConfig
    phases: Sequence[Phase]
    optimizers: dict[str, torch.optim.Optimizer]
    modules: dict[str, nn.Module]
    averaged: Sequence[tuple[Tensor, Tensor]]
    copied: Sequence[tuple[Tensor, Tensor]]
    ada: AdaController
    scalars: dict[str, Tensor]
    evaluate: Callable[[], tuple[dict[str, float], float | None]]
    sample_sheet: Callable[[Path], None]
    export: Callable[[Path, float, float | None], None]
    info: CheckpointInfo
    device: torch.device
    seed: int
    optimizer_of: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Know each phase's optimiser by its module."""
        for name in self.optimizers:
            self.optimizer_of[id(self.modules[name])] = name


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


def adam(parameters: Iterable[Tensor], config: StageConfig, interval: int, active: bool) -> torch.optim.Adam:
    """Adam corrected for lazy regularisation (Karras et al. 2020b, appendix B): one step in `interval` is extra."""
    c = interval / (interval + 1) if active else 1.0
    trained = [p for p in parameters if p.requires_grad]
    return torch.optim.Adam(trained, lr=config.learning_rate * c, betas=(0.0, 0.99**c), eps=1e-8, fused=True)


def run(
    stage: Stage, folder: Path, *, resume: bool, minutes: float | None = None, report: Report | None = None
) -> Ended:
    """Train a stage in `folder` until its length, its time budget or Ctrl-C, whichever comes first.

    Writes `state.safetensors`, `model.safetensors` (the best snapshot), `stats.jsonl`, TensorBoard events and sample
    sheets. A stage that is complete returns at once.

    Raises:
        CheckpointError: The folder holds a run that cannot be continued with this configuration, or `resume` is false
            and a run is there.
        OutputError: Something cannot be written.
    """
    keep_memory()
    folder.mkdir(parents=True, exist_ok=True)
    config = stage.config
    total = max(1, -(-int(config.total_kimg * 1000) // config.batch))
    tick = max(1, int(config.snapshot_kimg * 1000) // config.batch // 4)
    snapshot = 4 * tick
    memory = _Memory(stage, folder)
    first = 0
    if (folder / STATE).exists():
        if not resume:
            raise CheckpointError(f"{folder} holds a run already; continue it with --resume or choose another --output")
        first = memory.load()
    _truncate_stats(folder / STATS, first)
    best_score, best_kimg = memory.best
    if first >= total:
        return Ended(first, True, best_score, best_kimg, 0.0)
    started = time.monotonic()
    terms: dict[str, list[Tensor]] = {}
    board = _Board(folder, first)
    stop = _Stop()
    iteration = first
    tick_started, tick_first = started, first
    if first == 0:
        stage.sample_sheet(folder / "samples" / "000000.png")
    try:
        while iteration < total:
            _iterate(stage, iteration, terms)
            iteration += 1
            at_end = iteration == total
            if iteration % tick == 0 or at_end:
                row = _means(terms)
                terms.clear()
                now = time.monotonic()
                speed = (iteration - tick_first) * config.batch / max(now - tick_started, 1e-9)
                row |= {"ada_p": stage.ada.p}
                if iteration % snapshot == 0 or at_end:
                    figures, score = stage.evaluate()
                    row |= figures
                    kimg = iteration * config.batch / 1000
                    if score is not None:
                        row["score"] = score
                    if best_score is None or score is None or score < best_score:
                        best_score, best_kimg = score, kimg
                        stage.export(folder / "model.safetensors", kimg, score)
                    memory.best = (best_score, best_kimg)
                    stage.sample_sheet(folder / "samples" / f"{iteration:06d}.png")
                    memory.save(iteration)
                _append(folder / STATS, {"iteration": iteration, "kimg": iteration * config.batch / 1000, **row,
                                         "images_per_second": speed})  # fmt: skip
                board.write(iteration, row)
                tick_started, tick_first = now, iteration
            if report is not None:
                rate = (iteration - first) * config.batch / max(time.monotonic() - started, 1e-9)
                report(Progress(stage.name, iteration * config.batch / 1000, total * config.batch / 1000, rate,
                                f"{rate:.1f} img/s, p {stage.ada.p:.2f}"))  # fmt: skip
            if minutes is not None and time.monotonic() - started > minutes * 60 and iteration < total:
                break
            if stop.asked:
                # The log row of a tick that is cut here averages what follows only; all else continues exactly.
                memory.save(iteration)
                raise KeyboardInterrupt
    finally:
        stop.restore()
        board.close()
    if iteration < total and iteration % snapshot:
        # The time budget ended between snapshots: judge and keep what there is.
        _, score = stage.evaluate()
        kimg = iteration * config.batch / 1000
        if best_score is None or score is None or score < best_score:
            best_score, best_kimg = score, kimg
            stage.export(folder / "model.safetensors", kimg, score)
        stage.sample_sheet(folder / "samples" / f"{iteration:06d}.png")
        memory.best = (best_score, best_kimg)
        memory.save(iteration)
    return Ended(iteration, iteration >= total, best_score, best_kimg, time.monotonic() - started)


def _iterate(stage: Stage, iteration: int, terms: dict[str, list[Tensor]]) -> None:
    """One iteration: every phase whose turn it is, then weight average and ADA."""
    config = stage.config
    size = config.micro_batch or config.batch
    parts = [(start, start + size) for start in range(0, config.batch, size)]
    for number, phase in enumerate(stage.phases):
        if iteration % phase.interval:
            continue
        draws = Draws(stage.seed, iteration, number, stage.device)
        context = phase.prepare(draws, iteration)
        _train_only(stage, phase.module)
        optimizer = stage.optimizers[stage.optimizer_of[id(phase.module)]]
        optimizer.zero_grad(set_to_none=True)
        for start, stop in parts:
            outcome = phase.compute(context, start, stop)
            (outcome.loss * (phase.interval / len(parts))).backward()  # type: ignore[no-untyped-call]
            for name, value in outcome.terms.items():
                terms.setdefault(name, []).append(value.detach().float())
            for name, value in outcome.state.items():
                stage.scalars[name].copy_(value)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    # What the authors' program does with a batch that went wrong: skip its broken entries.
                    torch.nan_to_num_(parameter.grad, nan=0.0, posinf=1e5, neginf=-1e5)
        optimizer.step()
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
    signs = terms.get("real_sign", [])
    if signs:
        stage.ada.observe(float(signs[-1]), iteration)


def _train_only(stage: Stage, module: nn.Module) -> None:
    """Gradients for one network's trained parameters only: cheaper, and nothing frozen can move."""
    name = stage.optimizer_of[id(module)]
    for other, optimizer in stage.optimizers.items():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(other == name)


class _Memory:
    """The snapshot file: weights, optimisers, averages, controllers and the best score so far."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.path = stage, folder / STATE
        self.best: tuple[float | None, float] = (None, 0.0)

    def save(self, iteration: int) -> None:
        stage = self.stage
        tensors: dict[str, Tensor] = {}
        for name, module in stage.modules.items():
            tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in stage.optimizers.items():
            for number, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{name}.{number}.{key}": value for key, value in values.items()}
        tensors |= {f"scalar.{name}": value for name, value in stage.scalars.items()}
        numbers = {f"ada.{name}": value for name, value in stage.ada.state().items()}
        score, kimg = self.best
        numbers |= {"iteration": iteration, "best_kimg": kimg}
        numbers["best_score"] = float("nan") if score is None else score
        tensors |= {f"number.{name}": torch.tensor(float(v), dtype=torch.float64) for name, v in numbers.items()}
        save_checkpoint(self.path, stage.info, tensors)

    def load(self) -> int:
        stage = self.stage
        checkpoint = load_checkpoint(self.path, "training")
        old = checkpoint.info.model_copy(update={"versions": stage.info.versions})  # an upgrade is no other run
        if old != stage.info:
            raise CheckpointError(f"{self.path} belongs to another run: {_difference(old, stage.info)}")
        groups: dict[str, dict[str, Tensor]] = {}
        for name, tensor in checkpoint.tensors.items():
            kind, rest = name.split(".", 1)
            groups.setdefault(kind, {})[rest] = tensor
        try:
            for name, module in stage.modules.items():
                prefix = f"{name}."
                module.load_state_dict(
                    {k.removeprefix(prefix): v for k, v in groups["module"].items() if k.startswith(prefix)}
                )
            for name, optimizer in stage.optimizers.items():
                state: dict[int, dict[str, Tensor]] = {}
                for key, value in groups.get("optimizer", {}).items():
                    owner, number, entry = key.rsplit(".", 2)
                    if owner == name:
                        state.setdefault(int(number), {})[entry] = value
                saved = optimizer.state_dict()
                optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
                _match_layouts(optimizer)
            for name, value in stage.scalars.items():
                value.copy_(groups["scalar"][name])
            numbers = {name: float(value) for name, value in groups["number"].items()}
            stage.ada.load({k.removeprefix("ada."): v for k, v in numbers.items() if k.startswith("ada.")})
            score = numbers["best_score"]
            self.best = (None if score != score else score, numbers["best_kimg"])
            return int(numbers["iteration"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} does not hold a whole snapshot ({str(error).splitlines()[0][:80]}); "
                "delete it to start this stage anew"
            ) from None


def _match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments the memory layout of their parameters: fused Adam walks the memory of both side by side."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def _difference(old: CheckpointInfo, new: CheckpointInfo) -> str:
    before, after = old.model_dump(), new.model_dump()
    for name in before:
        if before[name] != after[name]:
            path, a, b = _first_difference(name, before[name], after[name])
            return f"{path} was {a!r}, now {b!r}; use the same settings and data, or another --output"
    return "unknown difference"


def _first_difference(path: str, a: Any, b: Any) -> tuple[str, Any, Any]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            if a.get(key) != b.get(key):
                return _first_difference(f"{path}.{key}", a.get(key), b.get(key))
    return path, a, b


def _means(terms: dict[str, list[Tensor]]) -> dict[str, float]:
    return {name: float(torch.stack(values).mean()) for name, values in sorted(terms.items())}


def _append(path: Path, row: dict[str, float]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _truncate_stats(path: Path, iteration: int) -> None:
    """Drop log rows after the snapshot that is being resumed, and a row that was cut in half."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["iteration"] <= iteration:
            kept.append(line + "\n")
    with replacing(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


class _Stop:
    """Ctrl-C and SIGTERM wait for the end of the iteration, where a snapshot is whole; a second one does not wait."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        log.warning("stopping after this iteration ...")

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Board:
    """TensorBoard events beside the JSON log."""

    def __init__(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        # Named by its start: one file per resumed part, none overwritten.
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first if first else None)

    def write(self, iteration: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, iteration)

    def close(self) -> None:
        self._writer.close()
