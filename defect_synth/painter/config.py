"""Settings of the painter's training: frozen models with bounds, and the presets."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from defect_synth.dfmgan.config import AdversarialStageConfig as StageConfig
from defect_synth.dfmgan.config import AugmentConfig
from defect_synth.errors import ConfigError
from defect_synth.painter.network import PainterModelConfig

_OFF = AugmentConfig(mode="none")  # the painter augments with fixed strength, see `painter_data`


class BackboneStage(StageConfig):
    """Stage 1': the image backbone learns to draw what it sees."""

    total_kimg: float = Field(2.4, gt=0)
    batch: int = Field(16, ge=2)
    learning_rate: float = Field(0.01, gt=0, le=1)
    ema_kimg: float = Field(0.3, ge=0)
    augment: AugmentConfig = _OFF
    snapshot_kimg: float = Field(0.8, gt=0)
    perceptual: float = Field(0.1, ge=0, description="Weight of the distance of frozen features, where there are any.")


class PainterStage(StageConfig):
    """Stage 2': the defect branch against its judges."""

    total_kimg: float = Field(4, gt=0)
    batch: int = Field(8, ge=4, description="Small: in minutes, the number of steps counts.")
    learning_rate: float = Field(0.01, gt=0, le=1, description="Of the branch; equalised layers want ten times Adam's.")
    judge_learning_rate: float = Field(0.001, gt=0, le=1)
    ema_kimg: float = Field(0.5, ge=0)
    augment: AugmentConfig = _OFF
    snapshot_kimg: float = Field(0.5, gt=0)
    donor_prob: float = Field(0.5, ge=0, le=1, description="Share of paintings that start from a real defect.")
    texture_weight: float = Field(4.0, ge=0, description="Of the distance of textures, see `painter_texture`.")
    appearance_weight: float = Field(1.0, ge=0, description="Of the distance of colour statistics in the mask.")
    donor_weight: float = Field(0.5, ge=0, description="Of the distance to the donor: keeps it from turning grey.")
    mode_seeking_weight: float = Field(0.02, ge=0, description="Of Eq. 2 on the image inside the mask.")

    @model_validator(mode="after")
    def _whole_batches(self) -> Self:
        if self.micro_batch is not None:
            raise ValueError("the painter's batches are not cut into parts; leave out micro_batch")
        return self


class PainterConfig(BaseModel):
    """One painter: all defects of a category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: str = "PAINT_128"
    model: PainterModelConfig = PainterModelConfig()
    backbone: BackboneStage = BackboneStage()
    painter: PainterStage = PainterStage()
    seed: int = Field(0, ge=0, lt=2**31)
    max_normals: int = Field(64, ge=1, description="Good images that are kept in memory for training.")
    triplets: int = Field(16, ge=1, description="Of a DFMGAN, for each defect, where one is given.")
    kept_normals: int = Field(12, ge=1, description="Good images that travel with the checkpoint, to paint on.")
    longest_side: int = Field(2048, ge=64, description="Larger images are shrunk to this first.")
    minutes: float = Field(10.0, gt=0, description="What the lengths of the stages are meant for, on two CPU cores.")

    def for_minutes(self, minutes: float) -> PainterConfig:
        """The same with stages as much longer or shorter as the budget is.

        The lengths depend on the number that was asked for and not on how fast this machine is, so the same budget
        gives the same painter everywhere (where the time is enough).
        """
        factor = minutes / self.minutes
        return self.model_copy(update={
            "minutes": minutes,
            "backbone": self.backbone.model_copy(update={"total_kimg": self.backbone.total_kimg * factor**0.5}),
            "painter": self.painter.model_copy(update={"total_kimg": self.painter.total_kimg * factor}),
        })  # fmt: skip


PAINT_128 = PainterConfig()
PAINT_256 = PainterConfig(
    preset="PAINT_256",
    model=PainterModelConfig(side=256),
    backbone=BackboneStage(total_kimg=1.2, batch=8),
    painter=PainterStage(total_kimg=2, batch=8),
    minutes=25,
)
PAINT_TINY = PainterConfig(
    preset="PAINT_TINY",
    model=PainterModelConfig(side=32, channels=(16, 16, 16, 16, 16), z_dim=16, w_dim=16, map_channels=4, grain=1.0),
    backbone=BackboneStage(total_kimg=0.032, batch=4, snapshot_kimg=0.016),
    painter=PainterStage(total_kimg=0.032, batch=4, snapshot_kimg=0.016),
    max_normals=8,
    kept_normals=2,
    minutes=0.1,
)

PainterPresetName = Literal["PAINT_128", "PAINT_256", "PAINT_TINY"]
PAINTER_PRESETS: dict[str, PainterConfig] = {p.preset: p for p in (PAINT_128, PAINT_256, PAINT_TINY)}


def override(config: PainterConfig, settings: dict[str, Any]) -> PainterConfig:
    """A copy of `config` with dotted fields replaced, as in `{"painter.batch": 8}`, checked again as a whole.

    Raises:
        ConfigError: An unknown field, or a value out of its bounds.
    """
    values = config.model_dump()
    for name, value in settings.items():
        *path, last = name.split(".")
        node: Any = values
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict) or last not in node:
            raise ConfigError(f"unknown setting {name!r} for --method painter; the groups are {', '.join(values)}")
        node[last] = value
    try:
        return PainterConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None
