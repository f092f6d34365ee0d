"""What the loop runs: phases, and the stage they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from defect_synth.config import StageConfig
from defect_synth.dfmgan.ada import AdaController
from defect_synth.dfmgan.objectives import Outcome
from defect_synth.engine.checkpoint import CheckpointInfo
from defect_synth.engine.draws import Draws


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
        moved: Tensors that forward passes move, such as the mapping's average w; saved with their module.
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
    moved: Sequence[Tensor] = ()

    def __post_init__(self) -> None:
        """Know each phase's optimiser by its module."""
        for name in self.optimizers:
            self.optimizer_of[id(self.modules[name])] = name


def adam(parameters: Iterable[Tensor], config: StageConfig, interval: int, active: bool) -> torch.optim.Adam:
    """Adam corrected for lazy regularisation (Karras et al. 2020b, appendix B): one step in `interval` is extra."""
    c = interval / (interval + 1) if active else 1.0
    trained = [p for p in parameters if p.requires_grad]
    return torch.optim.Adam(trained, lr=config.learning_rate * c, betas=(0.0, 0.99**c), eps=1e-8, fused=True)
