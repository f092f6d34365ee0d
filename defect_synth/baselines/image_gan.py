"""Settings that the image-only GANs share: Finetune and DiffAug train the networks of stage 1, CDC adapts them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field

from defect_synth.baselines.image_gan_source import ImageGANSource
from defect_synth.baselines.system import TrainingSet
from defect_synth.config import Frozen, override
from defect_synth.dfmgan.config import FAST_64, AdversarialStageConfig, PretrainConfig, TrainConfig
from defect_synth.dfmgan.pretrain import BACKBONE, PretrainStage
from defect_synth.engine.runner import Step
from defect_synth.samples import DefectSource, Pixels

STAGE_2_ONLY = (
    "config.preset",
    "config.model.residual",
    "config.model.match_discriminator",
    "config.transfer.lambda_match",
    "config.transfer.lambda_mode_seeking",
    "config.transfer.tanh_gain",
    "config.transfer.protocol",
    "config.validation_fraction",
    "config.resize",
)
"""Settings of a `TrainConfig` that only DFMGAN reads."""


class ImageGAN(Frozen):
    """Settings of a GAN that generates images without masks, a network for each defect."""

    changes_images: ClassVar[bool] = False

    method: str
    config: TrainConfig = FAST_64

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.config.model.backbone.resolution

    def at(self, resolution: int | None, seed: int) -> Self:
        """A copy for another resolution (None: the same) and another seed.

        Raises:
            ConfigError: The networks cannot have this resolution.
        """
        changes: dict[str, Any] = {"seed": seed}
        if resolution is not None:
            first = self.config.model.residual.first_resolution
            changes["model.backbone.resolution"] = resolution
            changes["model.residual.first_resolution"] = min(first, resolution)  # or `config` would not be valid
        return self.model_copy(update={"config": override(self.config, changes)})

    @abstractmethod
    def defect_stage(self, training: TrainingSet, defect: str, run: Path, device: torch.device) -> PretrainStage:
        """The stage that trains the network of one defect."""

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """One stage per defect."""
        return [
            Step(defect, f"defects/{defect}", partial(self.defect_stage, training, defect, run, device))
            for defect in training.defects
        ]

    def open(
        self, run: Path, category: str, defects: Sequence[str], normal: Pixels, device: torch.device
    ) -> DefectSource:
        """The network of each defect; `normal` is ignored."""
        return ImageGANSource.of_run(self.method, run, category, defects, device)


class AdaptedGAN(ImageGAN):
    """Settings of a GAN that is trained on normal images first and then, a copy for each defect, on defect images.

    `config.pretrain` is the schedule of stage 1 on normal images, `config.transfer` that on the images of each defect.
    """

    pretrained: Path | None = Field(
        None, description="Run folder of DFMGAN, Finetune or CDC whose stage 1 is used; None: it is trained first."
    )

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """Stage 1, unless `pretrained` is given, then one stage per defect."""
        defects = super().steps(training, run, device)
        if self.pretrained is not None:
            return defects
        first = partial(
            PretrainStage, self.config, training.category, training.normal, None, device=device, method=self.method
        )
        share = 1.5 * len(defects)  # 3/5 of the time, as in DFMGAN
        return [Step(BACKBONE, BACKBONE, first, share, basis=True), *defects]


def second_schedule(config: TrainConfig) -> TrainConfig:
    """A copy of `config` with the schedule of `config.transfer` in the place of `config.pretrain`.

    The training on a defect has the losses of stage 1, whose stage reads `config.pretrain`.
    """
    shared = {name: getattr(config.transfer, name) for name in AdversarialStageConfig.model_fields}
    return config.model_copy(update={"pretrain": PretrainConfig(**shared)})


def with_strong_r1(config: TrainConfig) -> TrainConfig:
    """A copy of `config` whose second schedule has the strong R1 of its first.

    D must not win on ten images either, and the presets have a second schedule for stage 2 of DFMGAN, which trains
    other networks.
    """
    transfer = config.transfer.model_copy(update={"r1_gamma": config.pretrain.r1_gamma})
    return config.model_copy(update={"transfer": transfer})
