"""Settings of the painter: sizes of its networks, schedules and loss weights of its two stages, and the presets."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from defect_synth.config import Frozen, StageConfig
from defect_synth.product.arrangement import Lie

STRIDE = 16
"""Sides of views are multiples of this: the coarsest features have one position for so many pixels."""

Channels = Annotated[int, Field(ge=4, le=2048)]


class PainterModelConfig(Frozen):
    """Sizes of the networks. Channels are multiples of 16, for which CPU convolutions are several times faster."""

    side: int = Field(128, ge=STRIDE, le=1024, multiple_of=STRIDE, description="Side of the views, in pixels.")
    channels: tuple[Channels, Channels, Channels, Channels, Channels] = Field(
        (16, 32, 48, 64, 96), description="Feature channels at strides 1, 2, 4, 8 and 16."
    )
    z_dim: int = Field(64, ge=4, le=512, description="Length of the latent code of a painting.")
    map_channels: int = Field(8, ge=1, le=64, description="Channels of the random layout maps at strides 4 and 16.")
    w_dim: int = Field(64, ge=4, le=512, description="Length of the style that modulates the residual blocks.")
    grain: float = Field(
        0.0, ge=0, le=4,
        description="Strength of the pixel noise that free paintings get in place of a donor: removes fabric-like "
        "patterns, adds spots.",
    )  # fmt: skip


class _WholeBatchConfig(StageConfig):
    """Schedule of a stage whose batches are never divided."""

    @model_validator(mode="after")
    def _no_micro_batch(self) -> Self:
        if self.micro_batch is not None:
            raise ValueError("the painter does not divide its batches; leave out micro_batch")
        return self


class BackboneStageConfig(_WholeBatchConfig):
    """Stage 1': the image backbone learns to reconstruct normal images."""

    total_kimg: float = Field(2.4, gt=0, le=1e6, description="Length in thousands of views.")
    batch: int = Field(16, ge=2, le=65536, description="Views per iteration.")
    learning_rate: float = Field(0.01, gt=0, le=1, description="Step size of Adam at the start.")
    ema_kimg: float = Field(0.3, ge=0, le=1e6, description="Half-life of the weight average in thousands of views.")
    ema_rampup: float | None = Field(
        0.05, ge=0, le=1e6, description="The half-life is at most this share of the views seen so far; None: no limit."
    )
    snapshot_kimg: float = Field(0.8, gt=0, le=1e6, description="Thousands of views between resumable snapshots.")
    perceptual: float = Field(
        0.1,
        ge=0,
        le=1e6,
        description="Weight of the distance between pretrained features; no effect without --features.",
    )


class PainterStageConfig(_WholeBatchConfig):
    """Stage 2': the defect branch learns against its discriminators."""

    total_kimg: float = Field(4, gt=0, le=1e6, description="Length in thousands of views.")
    batch: int = Field(
        8, ge=4, le=65536, description="Views per iteration; small, because in minutes the number of steps counts."
    )
    learning_rate: float = Field(
        0.01, gt=0, le=1, description="Step size of the branch; equalised layers need about ten times the usual one."
    )
    discriminator_learning_rate: float = Field(0.001, gt=0, le=1, description="Step size of the discriminators.")
    ema_kimg: float = Field(0.5, ge=0, le=1e6, description="Half-life of the weight average in thousands of views.")
    ema_rampup: float | None = Field(
        0.05, ge=0, le=1e6, description="The half-life is at most this share of the views seen so far; None: no limit."
    )
    snapshot_kimg: float = Field(0.5, gt=0, le=1e6, description="Thousands of views between resumable snapshots.")
    donor_prob: float = Field(0.5, ge=0, le=1, description="Share of paintings that start from a real defect.")
    texture_weight: float = Field(4.0, ge=0, le=1e6, description="Weight of the texture distance, see `texture`.")
    appearance_weight: float = Field(
        1.0, ge=0, le=1e6, description="Weight of the distance between colour statistics inside the mask."
    )
    donor_weight: float = Field(
        0.5, ge=0, le=1e6, description="Weight of the distance to the donor, which keeps paintings from turning grey."
    )
    mode_seeking_weight: float = Field(
        0.02, ge=0, le=1e6, description="Weight of the mode-seeking loss (Eq. 2), taken on the image inside the mask."
    )


class PainterConfig(Frozen):
    """One painter of all defect categories of an object category."""

    preset: str = "PAINT_128"
    model: PainterModelConfig = PainterModelConfig()
    backbone: BackboneStageConfig = BackboneStageConfig()
    painter: PainterStageConfig = PainterStageConfig()
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything random in training.")
    max_normals: int = Field(64, ge=1, le=100_000, description="Most normal images that are read for training.")
    triplets: int = Field(
        16, ge=1, le=100_000, description="Samples of each defect that are learnt from with --from-dfmgan."
    )
    kept_normals: int = Field(12, ge=1, le=100_000, description="Normal images stored in the checkpoint, to paint on.")
    longest_side: int = Field(2048, ge=64, le=65536, description="Larger images are shrunk to this side first.")
    pose: Lie = Field(
        "auto",
        description="How products lie: aligned (all alike), any (each in a pose of its own), none (poses "
        "mean nothing), or auto (found out).",
    )
    minutes: float = Field(
        10.0, gt=0, le=1e6, description="Training time on two CPU cores that the lengths of the stages are meant for."
    )

    def for_minutes(self, minutes: float) -> PainterConfig:
        """A copy whose stages are lengthened or shortened for a time budget.

        The lengths follow from `minutes` and not from the speed of this machine, so equal budgets give equal painters
        on all machines that finish in time.
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
    backbone=BackboneStageConfig(total_kimg=1.2, batch=8),
    painter=PainterStageConfig(total_kimg=2, batch=8),
    minutes=25,
)
PAINT_TINY = PainterConfig(
    preset="PAINT_TINY",
    model=PainterModelConfig(side=32, channels=(16, 16, 16, 16, 16), z_dim=16, w_dim=16, map_channels=4, grain=1.0),
    backbone=BackboneStageConfig(total_kimg=0.032, batch=4, snapshot_kimg=0.016),
    painter=PainterStageConfig(total_kimg=0.032, batch=4, snapshot_kimg=0.016),
    max_normals=8,
    kept_normals=2,
    minutes=0.1,
)

PAINTER_PRESETS: dict[str, PainterConfig] = {p.preset: p for p in (PAINT_128, PAINT_256, PAINT_TINY)}
