"""The snapshot file, which holds all that a stage needs to go on; it is replaced as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defect_synth.engine.checkpoint import TrainingCard, load_checkpoint, restore, save_checkpoint
from defect_synth.engine.log import Tick
from defect_synth.engine.stage import Stage
from defect_synth.errors import CheckpointError
from defect_synth.weights.finite import require_finite

STATE = "state.safetensors"
_MOST_ITERATIONS = 10**12


class Snapshot:
    """The snapshot of a stage: weights, optimisers, averages, controls, the open row of the log, the best score."""

    def __init__(self, stage: Stage, folder: Path, tick: Tick) -> None:
        self.stage, self.path, self.tick = stage, folder / STATE, tick
        self.best: tuple[float | None, float] = (None, 0.0)

    def save(self, iteration: int) -> None:
        """Write the state after `iteration` iterations.

        Raises:
            OutputError: The file cannot be written.
        """
        stage = self.stage
        tensors: dict[str, Tensor] = {}
        for name, module in stage.modules.items():
            tensors |= {f"module.{name}.{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in stage.optimizers.items():
            for number, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{name}.{number}.{key}": value for key, value in values.items()}
        tensors |= {f"scalar.{name}": value for name, value in stage.scalars.items()}
        numbers = {f"control.{name}": value for name, value in stage.controls().items()}
        numbers |= self.tick.state()
        score, kimg = self.best
        numbers |= {"iteration": iteration, "best_kimg": kimg}
        numbers["best_score"] = float("nan") if score is None else score
        tensors |= {f"number.{name}": torch.tensor(float(v), dtype=torch.float64) for name, v in numbers.items()}
        save_checkpoint(self.path, stage.card, tensors)

    def load(self) -> int:
        """Restore the saved state; returns the number of iterations done.

        Raises:
            CheckpointError: The file is damaged, or belongs to a run with other settings or data.
        """
        stage = self.stage
        checkpoint = load_checkpoint(self.path, TrainingCard)
        # A run may be continued after an upgrade of the libraries.
        old = checkpoint.card.model_copy(update={"versions": stage.card.versions})
        if old != stage.card:
            raise CheckpointError(f"{self.path} belongs to another run: {_difference(old, stage.card)}")
        try:
            groups: dict[str, dict[str, Tensor]] = {}
            for name, tensor in checkpoint.tensors.items():
                kind, rest = name.split(".", 1)
                groups.setdefault(kind, {})[rest] = tensor
            require_finite({k: v for k, v in checkpoint.tensors.items() if not k.startswith("number.")}, self.path)
            for key in groups["module"]:
                if key.partition(".")[0] not in stage.modules:
                    raise ValueError(f"it has weights of {key[:80]}, which this stage does not train")
            for name, module in stage.modules.items():
                prefix = f"{name}."
                own = {k.removeprefix(prefix): v for k, v in groups["module"].items() if k.startswith(prefix)}
                restore(module, own, self.path)
            for name, optimizer in stage.optimizers.items():
                state: dict[int, dict[str, Tensor]] = {}
                for key, value in groups.get("optimizer", {}).items():
                    owner, number, entry = key.rsplit(".", 2)
                    if owner == name:
                        state.setdefault(int(number), {})[entry] = value
                saved = optimizer.state_dict()
                optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
                _require_moments(optimizer)
                _match_layouts(optimizer)
            for name, value in stage.scalars.items():
                value.copy_(groups["scalar"][name])
            numbers = {name: float(value) for name, value in groups["number"].items()}
            _require_numbers(numbers)
            stage.restore_controls(
                {k.removeprefix("control."): v for k, v in numbers.items() if k.startswith("control.")}
            )
            self.tick.load(numbers)
            score = numbers["best_score"]
            self.best = (None if score != score else score, numbers["best_kimg"])
            return int(numbers["iteration"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path} does not hold a whole snapshot ({str(error).splitlines()[0][:80]}); "
                "delete it to start this stage anew"
            ) from None


def iterations_done(folder: Path) -> int:
    """Number of iterations after which the snapshot in a stage's folder was taken.

    Raises:
        CheckpointError: There is no snapshot, or it is damaged.
    """
    tensors = load_checkpoint(folder / STATE, TrainingCard).tensors
    try:
        numbers = {name.removeprefix("number."): float(v) for name, v in tensors.items() if name.startswith("number.")}
        _require_numbers(numbers)
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{folder / STATE} does not hold a whole snapshot ({error})") from None
    return int(numbers["iteration"])


def _require_numbers(numbers: Mapping[str, float]) -> None:
    """Check the numbers of a snapshot; the best score is NaN where there is none yet."""
    for name, value in numbers.items():
        if not math.isfinite(value) and not (name == "best_score" and math.isnan(value)):
            raise ValueError(f"{name} is {value}")
    iteration = numbers["iteration"]
    if not (0 <= iteration <= _MOST_ITERATIONS and iteration == int(iteration)):
        raise ValueError(f"iteration is {iteration:g}")


def _require_moments(optimizer: torch.optim.Optimizer) -> None:
    """Check that Adam has all its moments, or none, for each parameter, in the shape of the parameter."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for parameter, values in optimizer.state.items():
        if id(parameter) not in known or values.keys() != {"step", "exp_avg", "exp_avg_sq"}:
            raise ValueError("the state of an optimizer is not that of Adam")
        if any(values[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")) or values["step"].ndim:
            raise ValueError("the state of an optimizer is of other networks")


def _match_layouts(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments the memory layout of their parameters, which fused Adam needs."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter).copy_(value)


def _difference(old: TrainingCard, new: TrainingCard) -> str:
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
