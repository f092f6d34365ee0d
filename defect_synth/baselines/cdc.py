"""CDC (Table 1; Ojha et al. 2021): stage 1 adapted to a few defect images while samples keep their distances."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from defect_synth.baselines.cdc_discriminator import CDCDiscriminator
from defect_synth.baselines.cdc_losses import distance_consistency
from defect_synth.baselines.image_gan import STAGE_2_ONLY, AdaptedGAN, second_schedule, with_strong_r1
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.dfmgan.config import FAST_64, PAPER_256, AugmentConfig
from defect_synth.dfmgan.latents import Latents, draw_latents
from defect_synth.dfmgan.losses import discriminator_loss, generator_loss
from defect_synth.dfmgan.objectives import REAL_SIGN, object_rows
from defect_synth.dfmgan.pretrain import BACKBONE, Pretrained, PretrainStage
from defect_synth.dfmgan.train import load_pretrained
from defect_synth.engine.draws import Draws
from defect_synth.engine.image_batches import ImageBatches
from defect_synth.engine.stage import Outcome, Phase, adam


class CDC(AdaptedGAN):
    """Settings of CDC; the adaptation to a defect has no augmentation."""

    unused: ClassVar[tuple[str, ...]] = (*STAGE_2_ONLY, "config.transfer.augment")

    method: Literal["cdc"] = "cdc"
    consistency: float = Field(1000.0, ge=0, le=1e6, description="Weight of the distance consistency loss.")
    anchor_interval: int = Field(4, ge=1, le=100_000, description="Every so many iterations, codes are near anchors.")
    anchor_std: float = Field(0.05, ge=0, le=1e6, description="Standard deviation of codes around their anchor.")

    @classmethod
    def preset(cls, name: PresetName) -> CDC:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px, 5,000 iterations of 4, lr 0.002, R1 10."""
        config = with_strong_r1(FAST_64) if name == "fast" else PAPER_256
        changes: dict[str, object] = {"augment": AugmentConfig(mode="none")}
        if name == "paper":
            changes |= {"total_kimg": 20.0, "batch": 4, "micro_batch": 4, "learning_rate": 0.002, "r1_gamma": 10.0}
        return cls(config=config.model_copy(update={"transfer": config.transfer.model_copy(update=changes)}))

    def defect_stage(self, training: TrainingSet, defect: str, run: Path, device: torch.device) -> CDCStage:
        """The adaptation to one defect."""
        return CDCStage(self, training, defect, load_pretrained((self.pretrained or run) / BACKBONE), device)


class UnaugmentedImages(ImageBatches):
    """Training images without augmentation, as `PretrainStage` takes them."""

    ada: ClassVar[None] = None

    @staticmethod
    def augmentation(draws: Draws, stream: int) -> None:
        """Nothing is drawn."""

    @staticmethod
    def part(augmentation: None, start: int, stop: int) -> Callable[[Tensor], Tensor]:
        """The identity."""
        return lambda images: images


@dataclass(frozen=True)
class CDCBatch:
    """What a phase of the adaptation trains on.

    Attributes:
        latents: Codes and noise; the codes are near anchors where whole images are scored.
        real: Training images, signal [B, 3, R, R].
        side: Side of the feature map whose patches are scored; None: whole images are.
        resolution: Resolution of the block whose features keep their distances.
    """

    latents: Latents
    real: Tensor
    side: int | None
    resolution: int


class CDCStage(PretrainStage):
    """The adaptation to one defect: stage 1 with other main phases, and patch heads on its discriminator.

    Args:
        settings: Settings of the whole run.
        training: The images to learn from.
        defect: Defect category.
        start: Weights of stage 1.
        device: Where to train.

    Raises:
        CheckpointError: Stage 1 is of another architecture.
    """

    def __init__(
        self, settings: CDC, training: TrainingSet, defect: str, start: Pretrained, device: torch.device
    ) -> None:
        config, images = second_schedule(settings.config), training.defects[defect]
        schedule = config.pretrain
        super().__init__(
            config, training.category, images, None, device=device, name=defect, start=start,
            augmented=UnaugmentedImages(images, schedule.batch, config.seed, device, mirror=schedule.mirror),
            method=settings.method,
        )  # fmt: skip
        self.settings = settings
        self.source = copy.deepcopy(self.backbone).requires_grad_(False)  # G_s of the paper: as stage 1 left it
        self.cdc_discriminator = CDCDiscriminator(self.discriminator).to(device)
        self.anchors = Draws(config.seed, 0, 98, torch.device("cpu")).normal(
            1, len(images), config.model.backbone.z_dim
        )
        lazy = {phase.name: phase for phase in self.phases if phase.name in ("Greg", "Dreg")}
        phases = [Phase("Gmain", self.backbone, 1, self.batch, self.generator_adaptation)]
        if "Greg" in lazy:
            phases.append(lazy["Greg"])
        phases.append(Phase("Dmain", self.cdc_discriminator, 1, self.batch, self.discriminator_adaptation))
        if "Dreg" in lazy:
            phases.append(replace(lazy["Dreg"], module=self.cdc_discriminator))
        self.phases = phases
        self.modules = {
            "backbone": self.backbone,
            "discriminator": self.cdc_discriminator,
            "average": self.average,
        }
        self.optimizers = {
            "backbone": self.optimizers["backbone"],
            "discriminator": adam(
                self.cdc_discriminator.parameters(), schedule, schedule.r1_interval, schedule.r1_gamma > 0
            ),
        }

    def batch(self, draws: Draws, iteration: int) -> CDCBatch:
        """Codes, images, and which features are compared, for one phase of one iteration."""
        latents = draw_latents(
            draws, self.schedule.batch, self.model, mixing_prob=0.0, noise=self.backbone.noise_numel, defect_noise=0,
            second=False,
        )  # fmt: skip
        chosen = draws.uniform(30, 2 + len(latents))
        sides, resolutions = self.cdc_discriminator.sides, self.model.backbone.block_resolutions
        side: int | None = sides[int(chosen[0] * len(sides))]
        if iteration % self.settings.anchor_interval == 0:
            anchors = self.anchors[(chosen[2:] * len(self.anchors)).long()].to(self.device)
            latents = replace(latents, z_object=anchors + self.settings.anchor_std * latents.z_object)
            side = None
        real = self.images.batch(iteration)[0]
        return CDCBatch(latents, real, side, resolutions[int(chosen[1] * len(resolutions))])

    def logits(self, images: Tensor, side: int | None) -> Tensor:
        """Logits of whole images, or of their patches at the feature map of a side."""
        logits: Tensor = (
            self.cdc_discriminator(images) if side is None else self.cdc_discriminator.patches(images, side)
        )
        return logits

    def generator_adaptation(self, batch: CDCBatch, start: int, stop: int) -> Outcome:
        """The adversarial loss, and the consistency of the distances between samples with those of G_s."""
        latents = batch.latents.part(start, stop)
        rows = object_rows(self.backbone, latents, track=True)
        adversarial = generator_loss(self.logits(self.backbone(rows, latents.noise_object), batch.side))
        below = 2 * batch.resolution
        with torch.no_grad():
            source_rows = self.source.rows(latents.z_object)
            before = self.source.trunk(source_rows, latents.noise_object, below=below).features
        now = self.backbone.trunk(rows, latents.noise_object, below=below).features
        consistency = distance_consistency(before, now)
        terms = {"generator": adversarial.detach(), "distance_consistency": consistency.detach()}
        return Outcome(adversarial + self.settings.consistency * consistency, terms)

    def discriminator_adaptation(self, batch: CDCBatch, start: int, stop: int) -> Outcome:
        """The adversarial loss of the discriminator."""
        latents = batch.latents.part(start, stop)
        with torch.no_grad():
            fake = self.backbone(object_rows(self.backbone, latents, track=False), latents.noise_object)
        real_logits = self.logits(batch.real[start:stop], batch.side)
        loss = discriminator_loss(self.logits(fake, batch.side), real_logits)
        return Outcome(loss, {"discriminator": loss.detach(), REAL_SIGN: real_logits.detach().sign().mean()})
