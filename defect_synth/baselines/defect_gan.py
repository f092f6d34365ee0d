"""Defect-GAN (Table 1; Zhang et al. 2021): defacement and restoration in a cycle, one network for all defects.

The network composes a layer onto an image: a defect onto a normal image, or a restoration onto a defect image.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from defect_synth.baselines.defect_gan_networks import (
    DefectGANDiscriminator,
    DefectGANGenerator,
    uniform_category_map,
)
from defect_synth.baselines.defect_gan_source import DefectGANSource
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.baselines.translation import (
    TranslationStageConfig,
    adam,
    load_generator,
    save_generator,
    shown_images,
    snapshot_card,
)
from defect_synth.baselines.translation_losses import classification, gradient_penalty, interpolate, l1, wasserstein
from defect_synth.config import Frozen
from defect_synth.data.store import ImageArrays
from defect_synth.engine.contact_sheet import save_grid
from defect_synth.engine.draws import Draws
from defect_synth.engine.image_batches import ImageBatches
from defect_synth.engine.loop import MODEL_FILE
from defect_synth.engine.runner import Step
from defect_synth.engine.stage import Outcome, Phase, Stage
from defect_synth.samples import DefectSource, Pixels, signal_to_pixels

NORMAL = 0
"""The category number of normal images; the defect categories follow in alphabetical order."""
_FOLDER = "defect_gan"
_BETA2 = 0.9


class DefectGAN(Frozen):
    """Settings of Defect-GAN; weights that the paper does not give are those of StarGAN (Choi et al. 2018).

    The spatial category map has the same category at every pixel, because the paper learns from image labels alone:
    the network itself chooses where a defect goes.
    """

    changes_images: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ()

    method: Literal["defect-gan"] = "defect-gan"
    resolution: int = Field(64, ge=32, le=1024, multiple_of=16)
    seed: int = Field(0, ge=0, lt=2**31)
    channels: int = Field(24, ge=4, le=1024, description="Channels of the first layers; at 256 px: 64.")
    blocks: int = Field(6, ge=1, le=64, description="Residual blocks of the encoder; the paper: 6.")
    critic_steps: int = Field(
        3, ge=1, le=1000, description="Steps of the critic per step of the generator; WGAN-GP: 5."
    )
    gradient_penalty_weight: float = Field(10.0, ge=0, le=1e6, description="Weight of the gradient penalty.")
    classification_weight: float = Field(1.0, ge=0, le=1e6, description="Weight of the category losses.")
    cycle_weight: float = Field(10.0, ge=0, le=1e6, description="Weight of the cycle losses.")
    map_cycle_weight: float = Field(
        5.0, ge=0, le=1e6, description="Weight of the difference between the maps of defacement and restoration."
    )
    map_area_weight: float = Field(1.0, ge=0, le=1e6, description="Weight of the mean of the maps: a defect is small.")
    mask_threshold: float = Field(0.25, gt=0, lt=1, description="The weak mask is where the map is at least this.")
    stage: TranslationStageConfig = TranslationStageConfig(
        total_kimg=20, batch=4, learning_rate=2e-4, ema_kimg=0.5, ema_rampup=0.05, snapshot_kimg=1
    )

    @classmethod
    def preset(cls, name: PresetName) -> DefectGAN:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px, 64 channels, five critic steps, 500 kimg."""
        if name == "fast":
            return cls()
        stage = cls().stage.model_copy(update={"total_kimg": 500.0, "snapshot_kimg": 10.0})
        return cls(resolution=256, channels=64, critic_steps=5, stage=stage)

    def at(self, resolution: int | None, seed: int) -> DefectGAN:
        """A copy for another resolution (None: the same) and another seed."""
        return self.model_copy(update={"resolution": resolution or self.resolution, "seed": seed})

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """One stage for all defects."""
        return [Step(self.method, _FOLDER, partial(DefectGANStage, self, training, device))]

    def open(
        self, run: Path, category: str, defects: Sequence[str], normal: Pixels, device: torch.device
    ) -> DefectSource:
        """The generator, with the normal images to deface."""
        build = partial(DefectGANGenerator, self.resolution, 1 + len(defects), self.channels, self.blocks)
        network, digest = load_generator(run / _FOLDER / MODEL_FILE, build)
        return DefectGANSource(
            category, tuple(sorted(defects)), network.to(device), normal, self.mask_threshold, device, digest
        )


@dataclass(frozen=True)
class DefectGANBatch:
    """What one phase trains on.

    Attributes:
        normal: Normal images, signal [B, 3, R, R].
        defective: Defect images, signal [B, 3, R, R].
        labels: Categories of the defect images, [B].
        targets: Categories with which the normal images are defaced, [B].
        noise: Noise of the four passes, [4, B, noise_numel].
        uniform: Where the gradient penalty is taken between two images, [B] in [0, 1).
    """

    normal: Tensor
    defective: Tensor
    labels: Tensor
    targets: Tensor
    noise: Tensor
    uniform: Tensor

    def part(self, start: int, stop: int) -> DefectGANBatch:
        """Samples start..stop."""
        return DefectGANBatch(
            self.normal[start:stop], self.defective[start:stop], self.labels[start:stop], self.targets[start:stop],
            self.noise[:, start:stop], self.uniform[start:stop],
        )  # fmt: skip


class DefectGANStage(Stage):
    """The training of the generator and of the critic, on all defects at once.

    Args:
        settings: Settings of the whole run.
        training: The images to learn from.
        device: Where to train.
    """

    def __init__(self, settings: DefectGAN, training: TrainingSet, device: torch.device) -> None:
        schedule, normal = settings.stage, training.normal
        self.settings = settings
        self.defects = tuple(sorted(training.defects))
        self.categories = 1 + len(self.defects)
        images = _concatenated([training.defects[defect] for defect in self.defects])
        sizes = {"resolution": True, "channels": True, "blocks": True}
        card = snapshot_card(
            settings.method, training.category, self.defects, normal, images,
            networks=settings.model_dump(mode="json", include=sizes) | {"categories": self.categories},
            training=settings.model_dump(mode="json", exclude={**sizes, "method": True, "stage": {"total_kimg"}}),
        )  # fmt: skip
        super().__init__(settings.method, schedule, card, device, settings.seed)
        torch.manual_seed(settings.seed)  # initial weights only; nothing after this draws from the global state
        self.generator = DefectGANGenerator(
            settings.resolution, self.categories, settings.channels, settings.blocks
        ).to(device)
        self.critic = DefectGANDiscriminator(self.categories, settings.channels).to(device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self._labels = torch.tensor(
            [1 + i for i, defect in enumerate(self.defects) for _ in range(len(training.defects[defect]))]
        )
        self._normal = ImageBatches(normal, schedule.batch, settings.seed + 1, device, mirror=schedule.mirror)
        self._defective = ImageBatches(images, schedule.batch, settings.seed, device, mirror=schedule.mirror)
        self._shown = shown_images(normal, device)
        self.phases = [
            Phase("D", self.critic, 1, self.batch, self.critic_loss),
            Phase("G", self.generator, settings.critic_steps, self.batch, self.generator_loss),
        ]
        self.optimizers = {
            "generator": adam(self.generator, schedule, _BETA2),
            "critic": adam(self.critic, schedule, _BETA2),
        }
        self.modules = {"generator": self.generator, "critic": self.critic, "average": self.average}
        self.averaged = list(zip(self.average.parameters(), self.generator.parameters(), strict=True))

    def batch(self, draws: Draws, iteration: int) -> DefectGANBatch:
        """Images, labels and noise of one phase of one iteration."""
        size = self.config.batch
        return DefectGANBatch(
            normal=self._normal.batch(iteration)[0],
            defective=self._defective.batch(iteration)[0],
            labels=self._labels[self._defective.indices(iteration)].to(self.device),
            targets=(1 + (draws.uniform(1, size) * (self.categories - 1)).long()).to(self.device),
            noise=draws.normal(2, 4, size, self.generator.noise_numel),
            uniform=draws.uniform(3, size),
        )

    def _composed(self, image: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The images with the layers of the generator, [N, 3, R, R], and the maps of the layers, [N, 1, R, R]."""
        category_map = uniform_category_map(labels, self.categories, self.settings.resolution)
        layer = self.generator(image, category_map, noise)
        return layer.composed(image), layer.map

    def generator_loss(self, batch: DefectGANBatch, start: int, stop: int) -> Outcome:
        """Adversarial, category, cycle and map losses of the four passes of both cycles."""
        settings, b = self.settings, batch.part(start, stop)
        normal_labels = torch.full_like(b.labels, NORMAL)
        fake_defective, defaced_map = self._composed(b.normal, b.targets, b.noise[0])
        cycled_normal, undone_map = self._composed(fake_defective, normal_labels, b.noise[1])
        fake_normal, restored_map = self._composed(b.defective, normal_labels, b.noise[2])
        cycled_defective, redone_map = self._composed(fake_normal, b.labels, b.noise[3])
        (defective_scores, defective_logits), (normal_scores, normal_logits) = (
            self.critic(fake_defective), self.critic(fake_normal)
        )  # fmt: skip
        adversarial = -defective_scores.mean() - normal_scores.mean()
        categories = classification(defective_logits, b.targets) + classification(normal_logits, normal_labels)
        cycle = l1(cycled_normal, b.normal) + l1(cycled_defective, b.defective)
        map_cycle = l1(defaced_map, undone_map) + l1(restored_map, redone_map)
        map_area = defaced_map.mean() + undone_map.mean() + restored_map.mean() + redone_map.mean()
        loss = adversarial + settings.classification_weight * categories + settings.cycle_weight * cycle
        loss = loss + settings.map_cycle_weight * map_cycle + settings.map_area_weight * map_area
        return Outcome(
            loss,
            {
                "generator": adversarial.detach(),
                "cycle": cycle.detach(),
                "map_area": defaced_map.detach().mean(),
            },
        )

    def critic_loss(self, batch: DefectGANBatch, start: int, stop: int) -> Outcome:
        """Wasserstein loss with gradient penalty, and the category losses of training images."""
        settings, b = self.settings, batch.part(start, stop)
        normal_labels = torch.full_like(b.labels, NORMAL)
        with torch.no_grad():
            fake_defective, _ = self._composed(b.normal, b.targets, b.noise[0])
            fake_normal, _ = self._composed(b.defective, normal_labels, b.noise[2])
        loss = torch.zeros([], device=self.device)
        for real, fake, labels in (
            (b.defective, fake_defective, b.labels),
            (b.normal, fake_normal, normal_labels),
        ):
            scores, logits = self.critic(real)
            loss = loss + wasserstein(self.critic(fake)[0], scores)
            loss = loss + settings.classification_weight * classification(logits, labels)
            between = interpolate(real, fake, b.uniform).requires_grad_(True)
            loss = loss + settings.gradient_penalty_weight * gradient_penalty(self.critic(between)[0], between)
        return Outcome(loss, {"critic": loss.detach()})

    @torch.no_grad()
    def save_contact_sheet(self, path: Path) -> None:
        """Write a row of normal images and, for each defect, a row of defaced images and one of their maps."""
        count = len(self._shown)
        rows = [self._shown]
        noise = torch.zeros(count, self.average.noise_numel, device=self.device)
        for label in range(1, self.categories):
            labels = torch.full((count,), label, device=self.device)
            category_map = uniform_category_map(labels, self.categories, self.settings.resolution)
            layer = self.average(self._shown, category_map, noise)
            rows += [layer.composed(self._shown), layer.map.expand(-1, 3, -1, -1) * 2 - 1]
        save_grid(path, signal_to_pixels(torch.cat(rows)).cpu(), columns=count)

    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged generator."""
        save_generator(path, self.card, self.defects, kimg, self.average)


def _concatenated(parts: Sequence[ImageArrays]) -> ImageArrays:
    return ImageArrays(
        np.concatenate([part.images for part in parts]), np.concatenate([part.masks for part in parts]),
        tuple(name for part in parts for name in part.names),
    )  # fmt: skip
