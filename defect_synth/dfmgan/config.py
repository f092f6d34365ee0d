"""Every setting of DFMGAN, its bounds and where its default comes from.

The defaults are those of the paper at 256x256 (`PAPER_256`). Where the paper is silent, they follow the authors'
program, and the description says so.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from defect_synth.config import Frozen, PowerOfTwo, Precision, Share, StageConfig, override

PresetName = Literal["PAPER_256", "FAST_128", "FAST_64", "TINY"]
ProtocolName = Literal["corrected", "official"]
StageName = Literal["pretrain", "transfer"]


class BackboneConfig(Frozen):
    """StyleGAN2 generator of Sec. 3.1: mapping network and skip-architecture synthesis network."""

    resolution: PowerOfTwo = Field(
        256, ge=32, le=1024, description="Side of the square image in pixels, a power of two."
    )
    z_dim: int = Field(512, ge=4, le=1024, description="Length of z_object and z_defect.")
    w_dim: int = Field(512, ge=4, le=1024, description="Length of one row of w_object and w_defect.")
    mapping_layers: int = Field(2, ge=1, le=16, description="2 gives the paper's 23.2M parameters; StyleGAN2 used 8.")
    channel_base: int = Field(
        16384, ge=32, le=1 << 20, description="Channels at resolution r: min(channel_base // r, channel_max)."
    )
    channel_max: int = Field(512, ge=4, le=4096, description="Upper bound of the channels at any resolution.")
    conv_clamp: float = Field(
        256.0, gt=0, le=1e30, description="Activations are clamped to +- this; keeps float16 finite."
    )
    image_channels: Literal[1, 3] = Field(3, description="3; 1 only for imported grey StyleGAN2-ADA snapshots.")

    @model_validator(mode="after")
    def _channels_at_the_top(self) -> Self:
        if self.channel_base < self.resolution:
            raise ValueError(
                f"channel_base {self.channel_base} leaves no channel at resolution {self.resolution}; "
                f"use channel_base >= {self.resolution}"
            )
        return self

    def channels(self, resolution: int) -> int:
        """Feature channels at `resolution`."""
        return min(self.channel_base // resolution, self.channel_max)

    @property
    def block_resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., resolution."""
        return tuple(2**i for i in range(2, self.resolution.bit_length()))

    @property
    def num_ws(self) -> int:
        """Rows of w_object: one per convolution plus the last ToRGB."""
        return 2 * self.resolution.bit_length() - 4


class ResidualConfig(Frozen):
    """Defect-aware residual blocks and ToMask (Sec. 3.2)."""

    first_resolution: PowerOfTwo = Field(
        64, ge=8, le=1024, description="Resolution of the first residual block and of ToMask."
    )
    mask_threshold: float = Field(
        0.0, ge=-1e6, le=1e6, description="A pixel is defect where its mask logit is >= this (Eq. 1)."
    )
    mask_dtype: Literal["float32", "float16"] = Field(
        "float32", description="float16 reproduces the rounding of the authors' program; not in the paper."
    )
    mask_box: tuple[Share, Share, Share, Share] | None = Field(
        None,
        description="Top, bottom, left, right as shares of the side; there is no defect outside. Not in the paper.",
    )

    @model_validator(mode="after")
    def _box_is_a_box(self) -> Self:
        if self.mask_box is not None:
            top, bottom, left, right = self.mask_box
            if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
                raise ValueError(f"mask_box must be top < bottom and left < right within 0..1, got {self.mask_box}")
        return self


class DiscriminatorConfig(Frozen):
    """StyleGAN2 residual discriminator; D and the smaller D_match differ in these numbers only."""

    channel_base: int = Field(16384, ge=32, le=1 << 20)
    channel_max: int = Field(512, ge=4, le=4096)
    minibatch_std_group: int = Field(
        4, ge=1, le=65536, description="Images per group of the minibatch standard deviation."
    )


class ModelConfig(Frozen):
    """The networks of Fig. 2."""

    backbone: BackboneConfig = BackboneConfig()
    residual: ResidualConfig = ResidualConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    match_discriminator: DiscriminatorConfig = DiscriminatorConfig(channel_base=4096, channel_max=128)

    @model_validator(mode="after")
    def _residual_inside_backbone(self) -> Self:
        if self.residual.first_resolution > self.backbone.resolution:
            raise ValueError(
                f"residual.first_resolution {self.residual.first_resolution} is above "
                f"backbone.resolution {self.backbone.resolution}; use {max(8, self.backbone.resolution // 4)}"
            )
        for name in ("discriminator", "match_discriminator"):
            if getattr(self, name).channel_base < self.backbone.resolution:
                raise ValueError(f"{name}.channel_base must be >= backbone.resolution {self.backbone.resolution}")
        return self

    @property
    def residual_resolutions(self) -> tuple[int, ...]:
        """Resolutions that have a defect-aware residual block."""
        return tuple(r for r in self.backbone.block_resolutions if r >= self.residual.first_resolution)

    @property
    def num_defect_ws(self) -> int:
        """Rows of w_defect; as in the authors' program, the last one is not read where there are two or more blocks."""
        return 2 * len(self.residual_resolutions) + 1


class AugmentConfig(Frozen):
    """Adaptive discriminator augmentation (Karras et al. 2020a); a strength of 0 switches a transform off."""

    mode: Literal["ada", "fixed", "none"] = Field(
        "ada", description="ada: p follows overfitting; fixed: p stays as it is."
    )
    initial_p: float = Field(0.0, ge=0, le=1, description="Probability of each transform at the start.")
    max_p: float = Field(0.8, ge=0, le=1, description="Cap of p; above about 0.8 augmentations leak into samples.")
    target: float = Field(0.6, gt=0, lt=1, description="Target of mean sign(D(real)).")
    ada_kimg: float = Field(500, gt=0, le=1e6, description="Thousands of images for p to move from 0 to 1.")
    interval: int = Field(4, ge=1, le=100_000, description="Iterations between adjustments of p.")
    flip: float = Field(1, ge=0, le=1)
    rotate90: float = Field(1, ge=0, le=1)
    integer_translation: float = Field(1, ge=0, le=1)
    scale: float = Field(1, ge=0, le=1)
    rotate: float = Field(1, ge=0, le=1)
    anisotropic_scale: float = Field(1, ge=0, le=1)
    translation: float = Field(1, ge=0, le=1)
    brightness: float = Field(1, ge=0, le=1)
    contrast: float = Field(1, ge=0, le=1)
    luma_flip: float = Field(1, ge=0, le=1)
    hue: float = Field(1, ge=0, le=1)
    saturation: float = Field(1, ge=0, le=1)

    def safe(self) -> AugmentConfig:
        """For parts whose orientation or colour matters: without flips, rotations, hue or luma changes."""
        return self.model_copy(update=dict(flip=0.0, rotate90=0.0, rotate=0.0, luma_flip=0.0, hue=0.0))


class TrainingProtocol(Frozen):
    """Choices in which the authors' program (`official`) differs from our reading of the paper (`corrected`)."""

    name: ProtocolName = "corrected"
    mode_seeking_epsilon: float = Field(
        1e-3, ge=0, le=1e6, description="Added to the denominator of Eq. 2; official: 0."
    )
    shared_noise: bool = Field(
        True, description="Both passes of Eq. 2 use the same noise, so that only w_defect differs."
    )
    joint_augmentation: bool = Field(
        True, description="D_match sees image and mask under the same geometric augmentation."
    )
    frozen_weights: Literal["ema", "raw"] = Field("ema", description="Which weights of stage 1 are frozen in stage 2.")
    guard_masks: bool = Field(True, description="Pull masks back that are black or white everywhere.")
    confine_masks: bool = Field(
        True, description="No defect outside the box of the base masks, widened by an eighth of the side."
    )
    coarse_masks: bool = Field(
        True, description="D_match sees real masks as coarse as generated ones, so that it cannot tell them by that."
    )
    mask_leak: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Least gradient of a saturated mask, as a share of the steepest.",
    )
    cap_p: bool = Field(True, description="Keep p at or below augment.max_p; official: no bound.")


CORRECTED = TrainingProtocol()
OFFICIAL = TrainingProtocol(
    name="official",
    mode_seeking_epsilon=0.0,
    shared_noise=False,
    joint_augmentation=False,
    frozen_weights="raw",
    guard_masks=False,
    confine_masks=False,
    coarse_masks=False,
    mask_leak=0.0,
    cap_p=False,
)
PROTOCOLS: dict[ProtocolName, TrainingProtocol] = {"corrected": CORRECTED, "official": OFFICIAL}


class AdversarialStageConfig(StageConfig):
    """Schedule of one adversarial stage; defaults of Karras et al. 2020a where the paper gives none."""

    total_kimg: float = Field(3000, gt=0, le=1e6, description="Length in thousands of real images shown to D.")
    batch: int = Field(32, ge=2, le=65536, description="Images per iteration.")
    micro_batch: int | None = Field(
        None,
        ge=2,
        le=65536,
        description="Images per backward pass, the unit that processes share out. None: half the batch, as on the "
        "authors' two GPUs, or all of it where half would split groups of the minibatch standard deviation.",
    )
    learning_rate: float = Field(0.0025, gt=0, le=1)
    r1_gamma: float = Field(0.4096, ge=0, le=1e6, description="Weight of R1; 0.0002 * resolution^2 / batch.")
    r1_interval: int = Field(16, ge=1, le=100_000, description="Iterations between R1 steps (lazy regularisation).")
    path_length_weight: float = Field(2.0, ge=0, le=1e6)
    path_length_interval: int = Field(4, ge=1, le=100_000)
    path_length_decay: float = Field(0.01, gt=0, le=1)
    path_length_shrink: int = Field(
        2, ge=1, le=100_000, description="Path lengths are taken of batch // path_length_shrink images."
    )
    style_mixing_prob: float = Field(0.9, ge=0, le=1)
    ema_kimg: float = Field(10, ge=0, le=1e6, description="Half-life of the weight average.")
    ema_rampup: float | None = Field(
        0.05, ge=0, le=1e6, description="The half-life is at most this share of the images seen."
    )
    augment: AugmentConfig = AugmentConfig()
    snapshot_kimg: float = Field(40, gt=0, le=1e6, description="Thousands of images between resumable snapshots.")
    mirror: bool = Field(False, description="Mirror half of the training images, with their masks.")


class PretrainConfig(AdversarialStageConfig):
    """Stage 1: the backbone on defect-free images (Sec. 3.1)."""


class TransferConfig(AdversarialStageConfig):
    """Stage 2: residual blocks, defect mapping, D and D_match on one defect category (Sec. 3.2, Eq. 3)."""

    total_kimg: float = Field(400, gt=0, le=1e6)
    ema_rampup: float | None = Field(None, ge=0, le=1e6)
    augment: AugmentConfig = AugmentConfig(ada_kimg=100)
    lambda_match: float = Field(1.0, ge=0, le=1e6, description="Weight of D_match in the generator's loss (Eq. 3).")
    lambda_mode_seeking: float = Field(0.1, ge=0, le=1e6, description="Weight of the mode seeking loss (Eq. 3).")
    tanh_gain: float = Field(10.0, gt=0, le=1e6, description="Masks enter D_match and Eq. 2 as tanh(gain * logits).")
    protocol: TrainingProtocol = CORRECTED

    @model_validator(mode="after")
    def _even_batch_for_mode_seeking(self) -> Self:
        size = self.micro_batch or self.batch
        if self.lambda_mode_seeking > 0 and size % 2:
            raise ValueError(f"batch {size} is odd, but the mode seeking loss pairs two halves; use {size + 1}")
        return self


class TrainConfig(Frozen):
    """Settings of a run: stage 1 on an object category, then stage 2 on each of its defect categories."""

    preset: str = "PAPER_256"
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    transfer: TransferConfig = TransferConfig()
    precision: Precision = Field(
        "auto", description="Number format of the convolutions; auto: the fastest that is safe on the device."
    )
    seed: int = Field(0, ge=0, lt=2**31)
    validation_fraction: float = Field(
        0.2, ge=0, lt=1, description="Share of the base images set apart to choose snapshots."
    )
    resize: Literal["letterbox", "crop"] = Field(
        "letterbox", description="How images of another aspect ratio become square."
    )

    @model_validator(mode="after")
    def _batches_fit_minibatch_std(self) -> Self:
        for stage, disc in (
            (self.pretrain, self.model.discriminator),
            (self.transfer, self.model.discriminator),
            (self.transfer, self.model.match_discriminator),
        ):
            size = stage.micro_batch or stage.batch
            group = min(disc.minibatch_std_group, size)
            if size % group:
                raise ValueError(
                    f"batch {size} is not a multiple of minibatch_std_group {group}; use {size - size % group or group}"
                )
        return self

    def micro_batches(self, stage: StageName) -> tuple[int, ...]:
        """Sizes of equal parts of a stage's batch, ascending: even, and whole groups of the minibatch std."""
        batch = getattr(self, stage).batch
        discriminators = [self.model.discriminator]
        if stage == "transfer":
            discriminators.append(self.model.match_discriminator)
        groups = [min(config.minibatch_std_group, batch) for config in discriminators]
        halves = [size for size in range(2, batch, 2) if batch % size == 0 and not any(size % g for g in groups)]
        return (*halves, batch)

    def micro_batch(self, stage: StageName) -> int:
        """Images per backward pass of a stage.

        Each loss is a mean over this many images, whatever the number of processes, which changes where something is
        computed but not what. The default is less than the whole batch, so that two processes can share it.
        """
        config: AdversarialStageConfig = getattr(self, stage)
        half = config.batch // 2
        return config.micro_batch or (half if half in self.micro_batches(stage) else config.batch)


# Short runs on a few hundred images need a much larger weight of R1 than the 0.0002 * resolution^2 / batch of long
# ones. With the latter, D wins within 2,000 images (64 px, bottles) and G draws noise; with 8, bottles appear after
# 8,000.
_FAST_PRETRAIN_GAMMA = 8.0
# The paper's average has a half-life of 10,000 images. After a few thousand it would still be half the random residual
# blocks that stage 2 began with, and its masks would be their noise.
_FAST_EMA_RAMPUP = 0.05


def _fast(resolution: int, batch: int, first_resolution: int, kimg: tuple[float, float]) -> TrainConfig:
    """A preset for hours instead of days. Few channels: with half of them a CPU sees three times as many images."""
    gamma = 0.0002 * resolution**2 / batch
    return TrainConfig(
        preset=f"FAST_{resolution}",
        model=ModelConfig(
            backbone=BackboneConfig(
                resolution=resolution, z_dim=256, w_dim=256, channel_base=2048 * resolution // 64, channel_max=128
            ),
            residual=ResidualConfig(first_resolution=first_resolution),
            discriminator=DiscriminatorConfig(channel_base=2048 * resolution // 64, channel_max=128),
            match_discriminator=DiscriminatorConfig(channel_base=512 * resolution // 64, channel_max=32),
        ),
        pretrain=PretrainConfig(
            total_kimg=kimg[0], batch=batch, r1_gamma=_FAST_PRETRAIN_GAMMA, ema_kimg=batch * 10 / 32, snapshot_kimg=2,
        ),
        transfer=TransferConfig(
            total_kimg=kimg[1], batch=batch, r1_gamma=gamma, ema_kimg=batch * 10 / 32, ema_rampup=_FAST_EMA_RAMPUP,
            snapshot_kimg=1, augment=AugmentConfig(ada_kimg=100),
        ),
    )  # fmt: skip


PAPER_256 = TrainConfig()
FAST_128 = _fast(128, 16, 32, (200, 30))
FAST_64 = _fast(64, 16, 16, (100, 20))
TINY = TrainConfig(
    preset="TINY",
    model=ModelConfig(
        backbone=BackboneConfig(resolution=32, z_dim=32, w_dim=32, channel_base=512, channel_max=32),
        residual=ResidualConfig(first_resolution=8),
        discriminator=DiscriminatorConfig(channel_base=512, channel_max=32),
        match_discriminator=DiscriminatorConfig(channel_base=256, channel_max=16),
    ),
    pretrain=PretrainConfig(
        total_kimg=0.256,
        batch=8,
        r1_gamma=0.0256,
        ema_kimg=2.5,
        snapshot_kimg=0.064,
        augment=AugmentConfig(ada_kimg=10),
    ),
    transfer=TransferConfig(
        total_kimg=0.128,
        batch=8,
        r1_gamma=0.0256,
        ema_kimg=2.5,
        ema_rampup=_FAST_EMA_RAMPUP,
        snapshot_kimg=0.064,
        augment=AugmentConfig(ada_kimg=10),
    ),
)
PRESETS: dict[PresetName, TrainConfig] = {
    "PAPER_256": PAPER_256,
    "FAST_128": FAST_128,
    "FAST_64": FAST_64,
    "TINY": TINY,
}


def with_protocol(config: TrainConfig, name: ProtocolName) -> TrainConfig:
    """`config` under a named protocol; `official` also rounds masks to float16, as the authors' program does."""
    return override(
        config,
        {
            "transfer.protocol": PROTOCOLS[name].model_dump(),
            "model.residual.mask_dtype": "float16" if name == "official" else "float32",
        },
    )
