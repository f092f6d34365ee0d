"""SDGAN (Table 1; Niu et al. 2020): translation between normal images and images of one defect, in a cycle.

The paper comes without code and with few numbers, so this system is only like SDGAN: cycle and identity losses,
least-squares patch discriminators, and the paper's additional discriminator losses, here on the ends of the cycles: an
image that was translated there and back must look real as well. It is deterministic: each normal image gives one defect
image, without a mask.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from defect_synth.baselines.sdgan_networks import SDGANGenerator
from defect_synth.baselines.sdgan_source import SDGANSource
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.baselines.translation import (
    TranslationStageConfig,
    adam,
    load_generator,
    save_generator,
    shown_images,
    snapshot_card,
)
from defect_synth.baselines.translation_losses import l1, least_squares_fake, least_squares_real
from defect_synth.baselines.translation_networks import PatchDiscriminator
from defect_synth.config import Frozen
from defect_synth.engine.contact_sheet import save_grid
from defect_synth.engine.draws import Draws
from defect_synth.engine.image_batches import ImageBatches
from defect_synth.engine.loop import MODEL_FILE
from defect_synth.engine.runner import Step
from defect_synth.engine.stage import Outcome, Phase, Stage
from defect_synth.samples import DefectSource, Pixels, signal_to_pixels

_BETA2 = 0.999


class SDGAN(Frozen):
    """Settings of SDGAN; those of CycleGAN (Zhu et al. 2017) where Niu et al. give none."""

    changes_images: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ()

    method: Literal["sdgan"] = "sdgan"
    resolution: int = Field(64, ge=32, le=1024, multiple_of=16)
    seed: int = Field(0, ge=0, lt=2**31)
    channels: int = Field(24, ge=4, le=1024, description="Channels of the first layers; CycleGAN: 64.")
    blocks: int = Field(4, ge=1, le=64, description="Residual blocks of a generator; CycleGAN at 256 px: 9.")
    cycle_weight: float = Field(10.0, ge=0, le=1e6, description="Weight of the cycle losses.")
    identity_weight: float = Field(5.0, ge=0, le=1e6, description="Weight of the identity losses.")
    cycle_adversarial_weight: float = Field(
        0.5, ge=0, le=1e6, description="Weight of the discriminator losses on the ends of the cycles."
    )
    stage: TranslationStageConfig = TranslationStageConfig(
        total_kimg=10, batch=4, learning_rate=2e-4, ema_kimg=0.5, ema_rampup=0.05, snapshot_kimg=1
    )

    @classmethod
    def preset(cls, name: PresetName) -> SDGAN:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px, CycleGAN's networks, 200 epochs of 200 images."""
        if name == "fast":
            return cls()
        stage = cls().stage.model_copy(update={"total_kimg": 40.0, "batch": 2})
        return cls(resolution=256, channels=64, blocks=9, stage=stage)

    def at(self, resolution: int | None, seed: int) -> SDGAN:
        """A copy for another resolution (None: the same) and another seed."""
        return self.model_copy(update={"resolution": resolution or self.resolution, "seed": seed})

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """One stage per defect."""
        return [
            Step(defect, f"defects/{defect}", partial(SDGANStage, self, training, defect, device))
            for defect in training.defects
        ]

    def open(
        self, run: Path, category: str, defects: Sequence[str], normal: Pixels, device: torch.device
    ) -> DefectSource:
        """The generators that turn normal images into defect images, with the images to turn."""
        networks, digests = {}, []
        for defect in sorted(defects):
            network, digest = load_generator(
                run / "defects" / defect / MODEL_FILE, partial(SDGANGenerator, self.channels, self.blocks)
            )
            networks[defect] = network.to(device)
            digests.append(digest)
        return SDGANSource(category, networks, normal, device, "\n".join(digests))


class SDGANStage(Stage):
    """The training of the two generators and two discriminators of one defect.

    Args:
        settings: Settings of the whole run.
        training: The images to learn from.
        defect: Defect category.
        device: Where to train.
    """

    def __init__(self, settings: SDGAN, training: TrainingSet, defect: str, device: torch.device) -> None:
        schedule, normal, images = settings.stage, training.normal, training.defects[defect]
        sizes = {"resolution": True, "channels": True, "blocks": True}
        card = snapshot_card(
            settings.method, training.category, (defect,), normal, images,
            networks=settings.model_dump(mode="json", include=sizes),
            training=settings.model_dump(mode="json", exclude={**sizes, "method": True, "stage": {"total_kimg"}}),
        )  # fmt: skip
        super().__init__(defect, schedule, card, device, settings.seed)
        self.settings = settings
        torch.manual_seed(settings.seed)  # initial weights only; nothing after this draws from the global state
        self.to_defect = SDGANGenerator(settings.channels, settings.blocks).to(device)
        self.to_normal = SDGANGenerator(settings.channels, settings.blocks).to(device)
        self.defect_discriminator = PatchDiscriminator(settings.channels).to(device)
        self.normal_discriminator = PatchDiscriminator(settings.channels).to(device)
        self.average = copy.deepcopy(self.to_defect).requires_grad_(False).eval()
        self._defect_images = ImageBatches(images, schedule.batch, settings.seed, device, mirror=schedule.mirror)
        self._normal_images = ImageBatches(normal, schedule.batch, settings.seed + 1, device, mirror=schedule.mirror)
        self._shown = shown_images(normal, device)
        generators = nn.ModuleDict({"defect": self.to_defect, "normal": self.to_normal})
        discriminators = nn.ModuleDict({"defect": self.defect_discriminator, "normal": self.normal_discriminator})
        self.phases = [
            Phase("G", generators, 1, self.batch, self.generator_loss),
            Phase("D", discriminators, 1, self.batch, self.discriminator_loss),
        ]
        self.optimizers = {
            "generators": adam(generators, schedule, _BETA2),
            "discriminators": adam(discriminators, schedule, _BETA2),
        }
        self.modules = {"generators": generators, "discriminators": discriminators, "average": self.average}
        self.averaged = list(zip(self.average.parameters(), self.to_defect.parameters(), strict=True))

    def batch(self, draws: Draws, iteration: int) -> tuple[Tensor, Tensor]:
        """Normal images and defect images of one iteration, each [B, 3, R, R]."""
        return self._normal_images.batch(iteration)[0], self._defect_images.batch(iteration)[0]

    def generator_loss(self, batch: tuple[Tensor, Tensor], start: int, stop: int) -> Outcome:
        """Adversarial, cycle and identity losses of both generators."""
        settings = self.settings
        normal, defect = (images[start:stop] for images in batch)
        fake_defect, fake_normal = self.to_defect(normal), self.to_normal(defect)
        cycled_normal, cycled_defect = self.to_normal(fake_defect), self.to_defect(fake_normal)
        adversarial = self._scored_real(fake_defect, fake_normal)
        cycle_adversarial = self._scored_real(cycled_defect, cycled_normal)
        cycle = l1(cycled_normal, normal) + l1(cycled_defect, defect)
        identity = l1(self.to_defect(defect), defect) + l1(self.to_normal(normal), normal)
        loss = adversarial + settings.cycle_adversarial_weight * cycle_adversarial
        loss = loss + settings.cycle_weight * cycle + settings.identity_weight * identity
        return Outcome(loss, {"generator": adversarial.detach(), "cycle": cycle.detach()})

    def _scored_real(self, defect: Tensor, normal: Tensor) -> Tensor:
        """How far the scores of generated images are from those of training images."""
        scores = self.defect_discriminator(defect), self.normal_discriminator(normal)
        return least_squares_real(scores[0]) + least_squares_real(scores[1])

    def discriminator_loss(self, batch: tuple[Tensor, Tensor], start: int, stop: int) -> Outcome:
        """Least-squares losses of both discriminators on training, translated and cycled images."""
        normal, defect = (images[start:stop] for images in batch)
        with torch.no_grad():
            fake_defect, fake_normal = self.to_defect(normal), self.to_normal(defect)
            cycled_normal, cycled_defect = self.to_normal(fake_defect), self.to_defect(fake_normal)
        loss = torch.zeros([], device=self.device)
        for discriminator, real, fake, cycled in (
            (self.defect_discriminator, defect, fake_defect, cycled_defect),
            (self.normal_discriminator, normal, fake_normal, cycled_normal),
        ):
            loss = loss + least_squares_real(discriminator(real)) + least_squares_fake(discriminator(fake))
            loss = loss + self.settings.cycle_adversarial_weight * least_squares_fake(discriminator(cycled))
        return Outcome(loss / 2, {"discriminator": loss.detach() / 2})

    @torch.no_grad()
    def save_contact_sheet(self, path: Path) -> None:
        """Write a row of normal images and, below it, the defect images that they give."""
        rows = torch.cat([self._shown, self.average(self._shown)])
        save_grid(path, signal_to_pixels(rows).cpu(), columns=len(self._shown))

    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged generator of defect images."""
        save_generator(path, self.card, (self.name,), kimg, self.average)
