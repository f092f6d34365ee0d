"""The schedules of Finetune and CDC, which train stage 1 a second time on a few images of a defect."""

from __future__ import annotations

from typing import Any

from defect_synth.config import override
from defect_synth.dfmgan.config import AdversarialStageConfig, PretrainConfig, TrainConfig

UNUSED = (
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
"""Settings of a `TrainConfig` that belong to stage 2 of DFMGAN, or to how it reads images."""


def continued(config: TrainConfig) -> TrainConfig:
    """A copy of `config` with the schedule of `config.transfer` in the place of `config.pretrain`.

    The second training has the losses and networks of stage 1, and stage 1 reads `config.pretrain`.
    """
    shared = {name: getattr(config.transfer, name) for name in AdversarialStageConfig.model_fields}
    return config.model_copy(update={"pretrain": PretrainConfig(**shared)})


def few_shot(config: TrainConfig) -> TrainConfig:
    """A copy of `config` whose second schedule has the strong R1 of its first.

    D must not win on ten images either; stage 2 of DFMGAN, for which the presets are made, has other networks to train.
    """
    transfer = config.transfer.model_copy(update={"r1_gamma": config.pretrain.r1_gamma})
    return config.model_copy(update={"transfer": transfer})


def resized(config: TrainConfig, resolution: int | None, seed: int) -> TrainConfig:
    """A copy of `config` for another resolution (None: the same) and another seed.

    Raises:
        ConfigError: The networks cannot have this resolution.
    """
    changes: dict[str, Any] = {"seed": seed}
    if resolution is not None:
        changes["model.backbone.resolution"] = resolution
        changes["model.residual.first_resolution"] = min(config.model.residual.first_resolution, resolution)
    return override(config, changes)
