"""What the loop trains: a stage, and the optimisation phases of which its iterations consist."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defect_synth.config import StageConfig
from defect_synth.engine.checkpoint import TrainingCard
from defect_synth.engine.draws import Draws


@dataclass
class Outcome:
    """Result of a phase on one part of a batch.

    Attributes:
        loss: What to minimise, a scalar.
        terms: Detached scalars to log.
        state: New values of the stage's `scalars`.
    """

    loss: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Phase:
    """One optimisation step of one network: what to minimise, and how often.

    Attributes:
        name: Name in messages.
        module: The network whose parameters move.
        interval: Iterations between steps; the loss is multiplied by it (lazy regularisation).
        prepare: (draws, iteration) -> everything random for the whole batch.
        compute: (what `prepare` returned, start, stop) -> the loss on samples start..stop of that batch.
    """

    name: str
    module: nn.Module
    interval: int
    prepare: Callable[[Draws, int], Any]
    compute: Callable[[Any, int, int], Outcome]


class Stage(ABC):
    """A training that `loop.run` can run, interrupt and resume.

    A subclass builds its networks in `__init__` and sets the attributes; its methods are the losses of its phases.

    Attributes:
        name: Shown to the user, such as `backbone` or a defect category.
        config: Schedule.
        card: Card of the snapshots; a run is resumed only by a stage whose card is equal.
        device: Where the networks are.
        seed: Seed of everything random.
        phases: In order; the position is the phase's number in the random streams.
        optimizers: One per trained network, by network name; shared by its main and its lazy phases.
        modules: Everything with weights, by name; all of it is in the snapshot.
        averaged: Pairs (average, source) of tensors whose moving average is taken.
        copied: Pairs (average, source) of buffers that are copied as they are.
        scalars: Tensors that phases update through `Outcome.state`, such as the mean path length.
        moved: Tensors that forward passes change, such as the mapping's average w; saved with their module.
    """

    phases: Sequence[Phase]
    optimizers: Mapping[str, torch.optim.Optimizer]
    modules: Mapping[str, nn.Module]
    averaged: Sequence[tuple[Tensor, Tensor]] = ()
    copied: Sequence[tuple[Tensor, Tensor]] = ()
    moved: Sequence[Tensor] = ()

    def __init__(self, name: str, config: StageConfig, card: TrainingCard, device: torch.device, seed: int) -> None:
        self.name, self.config, self.card, self.device, self.seed = name, config, card, device, seed
        self.scalars: dict[str, Tensor] = {}

    def evaluate(self) -> tuple[dict[str, float], float | None]:
        """At a snapshot: numbers to log, and the score of the averaged network (lower is better).

        Without a score, the last snapshot is the one that is kept.
        """
        return {}, None

    @abstractmethod
    def save_contact_sheet(self, path: Path) -> None:
        """Write a sheet of samples as PNG."""

    @abstractmethod
    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged network as a checkpoint from which samples can be drawn."""

    def after_iteration(self, means: Mapping[str, float], iteration: int) -> None:  # noqa: B027 - most need nothing
        """Called after each iteration with the mean of each logged term, to adapt what follows."""

    def controls(self) -> dict[str, float]:
        """Numbers that `after_iteration` adapts; they are part of a snapshot."""
        return {}

    def restore_controls(self, numbers: Mapping[str, float]) -> None:  # noqa: B027 - most have none
        """Set the numbers of `controls` from a snapshot."""

    def logged_controls(self) -> dict[str, float]:
        """Which of the controls each row of the log shows, by column name."""
        return {}

    def optimizer_of(self, module: nn.Module) -> str:
        """Name of the optimizer that trains `module`."""
        return next(name for name in self.optimizers if self.modules[name] is module)


def adam(parameters: Iterable[Tensor], config: StageConfig, interval: int, active: bool) -> torch.optim.Adam:
    """Adam corrected for lazy regularisation (Karras et al. 2020b, appendix B): one step in `interval` is extra."""
    c = interval / (interval + 1) if active else 1.0
    trained = [p for p in parameters if p.requires_grad]
    return torch.optim.Adam(trained, lr=config.learning_rate * c, betas=(0.0, 0.99**c), eps=1e-8, fused=True)
