"""What the stages of DFMGAN share besides their schedule: adaptive augmentation of what D sees."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from defect_synth.dfmgan.ada import AdaController
from defect_synth.dfmgan.config import AdversarialStageConfig
from defect_synth.dfmgan.objectives import REAL_SIGN
from defect_synth.engine.checkpoint import TrainingCard
from defect_synth.engine.stage import Stage


class AdversarialStage(Stage):
    """A stage whose augmentation probability p follows the overfitting of D (Karras et al. 2020a).

    Attributes:
        ada: Adapts p; None: the augmentation does not change.
    """

    def __init__(
        self, name: str, config: AdversarialStageConfig, card: TrainingCard, device: torch.device, seed: int,
        ada: AdaController | None,
    ) -> None:  # fmt: skip
        super().__init__(name, config, card, device, seed)
        self.ada = ada

    def after_iteration(self, means: Mapping[str, float], iteration: int) -> None:
        """Adapt p, where D has seen training images in this iteration."""
        if self.ada is not None and REAL_SIGN in means:
            self.ada.observe(means[REAL_SIGN], iteration)

    def controls(self) -> dict[str, float]:
        """The state of ADA."""
        return {} if self.ada is None else {f"ada.{name}": value for name, value in self.ada.state().items()}

    def restore_controls(self, numbers: Mapping[str, float]) -> None:
        """Set the state of ADA from a snapshot."""
        if self.ada is not None:
            self.ada.load({name.removeprefix("ada."): value for name, value in numbers.items()})

    def logged_controls(self) -> dict[str, float]:
        """The augmentation probability."""
        return {} if self.ada is None else {"ada_p": self.ada.p}
