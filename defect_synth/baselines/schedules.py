"""The stage-1 loop on defect images: which numbers change when there are ten images instead of hundreds."""

from __future__ import annotations

from typing import Any

from defect_synth.config import override
from defect_synth.dfmgan.config import AdversarialStageConfig as StageConfig
from defect_synth.dfmgan.config import PretrainConfig, TrainConfig


def continued(config: TrainConfig) -> TrainConfig:
    """`config` with its second schedule where stage 1 reads it: the second training of the same two networks."""
    shared = {name: getattr(config.transfer, name) for name in StageConfig.model_fields}
    return config.model_copy(update={"pretrain": PretrainConfig(**shared)})


def few_shot(config: TrainConfig) -> TrainConfig:
    """A fast preset whose second schedule has the strong R1 of its first: D must not win on ten images either."""
    transfer = config.transfer.model_copy(update={"r1_gamma": config.pretrain.r1_gamma})
    return config.model_copy(update={"transfer": transfer})


def resized(config: TrainConfig, resolution: int | None, seed: int) -> TrainConfig:
    """`config` at another side, with a seed.

    Raises:
        ConfigError: The networks have no such side.
    """
    changes: dict[str, Any] = {"seed": seed}
    if resolution is not None:
        changes["model.backbone.resolution"] = resolution
        changes["model.residual.first_resolution"] = min(config.model.residual.first_resolution, resolution)
    return override(config, changes)
