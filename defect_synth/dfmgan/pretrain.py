"""Stage 1: the backbone and D on defect-free images (Sec. 3.1)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.adversarial_stage import AdversarialStage
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import TrainConfig
from defect_synth.dfmgan.discriminators import build_discriminator
from defect_synth.dfmgan.latents import Latents, draw_latents
from defect_synth.dfmgan.precision import choose_dtype, set_precision
from defect_synth.dfmgan.snapshot_score import SnapshotScore
from defect_synth.dfmgan.training_images import AdaImages, AugmentedImages
from defect_synth.engine.checkpoint import TrainingCard, library_versions, restore, save_checkpoint
from defect_synth.engine.contact_sheet import save_grid
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Outcome, Phase, adam
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.samples import signal_to_pixels

BACKBONE = "backbone"
_NUM_SCORED = 64  # samples that a snapshot is scored with
_NUM_SHOWN = 32  # samples on a contact sheet


@dataclass(frozen=True)
class Pretrained:
    """What stage 1 hands over: state_dicts of the backbone as trained, of its average, and of D."""

    backbone: dict[str, Tensor]
    average: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    path: Path


class PretrainStage(AdversarialStage):
    """Stage 1, ready for `loop.run`; the image-only baselines train with it, too.

    Args:
        config: Settings of the whole run; the schedule is `config.pretrain`.
        category: Object category, for the checkpoint.
        images: Training images; defect-free in the paper.
        validation: Images kept apart to choose the best snapshot; None: keep the last.
        device: Where to train.
        features: Features that snapshots are compared by; None: random convolutions.
        name: Name of the stage; anything but `backbone` is the defect category that the images show.
        start: Weights to go on from; None: new ones.
        augmented: The images with another augmentation than ADA; None: ADA as in `config`.
        method: Name of the method in snapshots.

    Raises:
        CheckpointError: `start` is of another architecture.
    """

    def __init__(
        self,
        config: TrainConfig,
        category: str,
        images: ImageArrays,
        validation: ImageArrays | None,
        *,
        device: torch.device,
        features: FeatureExtractor | None = None,
        name: str = BACKBONE,
        start: Pretrained | None = None,
        augmented: AugmentedImages | None = None,
        method: str = "dfmgan",
    ) -> None:
        schedule = config.pretrain.model_copy(update={"micro_batch": config.micro_batch("pretrain")})
        torch.manual_seed(config.seed)  # initial weights only; nothing after this draws from the global state
        self.backbone = Backbone(config.model.backbone).to(device)
        self.discriminator = build_discriminator(config.model).to(device)
        self.average = copy.deepcopy(self.backbone).requires_grad_(False).eval()
        if start is not None:
            restore(self.backbone, start.backbone, start.path)
            restore(self.discriminator, start.discriminator, start.path)
            restore(self.average, start.average, start.path)
        dtype = choose_dtype(config.precision, device)
        for module in (self.backbone, self.average, self.discriminator):
            set_precision(module, dtype)
        self.images = augmented or AdaImages(images, schedule, config.seed, device)
        training = {
            "seed": config.seed, "precision": str(dtype), "stage": 1,
            **config.pretrain.model_dump(mode="json", exclude={"total_kimg"}),
        }  # fmt: skip
        defect = None if name == BACKBONE else name
        card = TrainingCard(
            method=method, category=category, defect=defect, data_digest=images.digest, num_images=len(images),
            training=training, networks=config.model.model_dump(mode="json"), versions=library_versions(),
        )  # fmt: skip
        super().__init__(name, schedule, card, device, config.seed, self.images.ada)
        self.model, self.schedule = config.model, schedule
        self.scalars = {"path_length_mean": torch.zeros([], device=device)}
        self.phases = self._phases()
        self.optimizers = {
            "backbone": adam(
                self.backbone.parameters(), schedule, schedule.path_length_interval, schedule.path_length_weight > 0
            ),
            "discriminator": adam(
                self.discriminator.parameters(), schedule, schedule.r1_interval, schedule.r1_gamma > 0
            ),
        }
        self.modules = {"backbone": self.backbone, "discriminator": self.discriminator, "average": self.average}
        self.averaged = list(zip(self.average.parameters(), self.backbone.parameters(), strict=True))
        self.copied = list(zip(self.average.buffers(), self.backbone.buffers(), strict=True))
        self.moved = [self.backbone.mapping.w_avg]
        self._score = None if validation is None else SnapshotScore(images, validation, features)
        fixed = Draws(config.seed, 0, 99, torch.device("cpu"))
        self._codes = fixed.normal(1, _NUM_SCORED, config.model.backbone.z_dim)

    def _phases(self) -> list[Phase]:
        schedule, images = self.schedule, self.images
        side = self.model.backbone.resolution
        image_shape = (self.model.backbone.image_channels, side, side)

        def generator_inputs(draws: Draws, iteration: int) -> tuple[Latents, Any]:
            return self.latents(draws), images.augmentation(draws, 20)

        def path_inputs(draws: Draws, iteration: int) -> tuple[Latents, Tensor]:
            return self.latents(draws), draws.normal(21, schedule.batch, *image_shape)

        def discriminator_inputs(draws: Draws, iteration: int) -> tuple[Latents, Any, Tensor, Any]:
            fake, real = images.augmentation(draws, 22), images.augmentation(draws, 23)
            return self.latents(draws), fake, images.batch(iteration)[0], real

        def r1_inputs(draws: Draws, iteration: int) -> tuple[Tensor, Any]:
            return images.batch(iteration)[0], images.augmentation(draws, 24)

        phases = [Phase("Gmain", self.backbone, 1, generator_inputs, self.generator_main)]
        if schedule.path_length_weight > 0:
            every = schedule.path_length_interval
            phases.append(Phase("Greg", self.backbone, every, path_inputs, self.generator_reg))
        phases.append(Phase("Dmain", self.discriminator, 1, discriminator_inputs, self.discriminator_main))
        if schedule.r1_gamma > 0:
            phases.append(Phase("Dreg", self.discriminator, schedule.r1_interval, r1_inputs, self.discriminator_reg))
        return phases

    def latents(self, draws: Draws) -> Latents:
        """Codes and noise of a batch."""
        return draw_latents(
            draws, self.schedule.batch, self.model, mixing_prob=self.schedule.style_mixing_prob,
            noise=self.backbone.noise_numel, defect_noise=0, second=False,
        )  # fmt: skip

    def generator_main(self, inputs: tuple[Latents, Any], start: int, stop: int) -> Outcome:
        """The adversarial loss of the backbone."""
        latents, augmentation = inputs
        augment = self.images.part(augmentation, start, stop)
        return objectives.pretrain_generator(self.backbone, self.discriminator, latents.part(start, stop), augment)

    def generator_reg(self, inputs: tuple[Latents, Tensor], start: int, stop: int) -> Outcome:
        """Path length regularisation."""
        latents, noise = inputs
        return objectives.path_length(
            self.backbone, latents.part(start, stop), noise[start:stop], self.scalars["path_length_mean"],
            self.schedule.path_length_decay, self.schedule.path_length_weight, self.schedule.path_length_shrink,
        )  # fmt: skip

    def discriminator_main(self, inputs: tuple[Latents, Any, Tensor, Any], start: int, stop: int) -> Outcome:
        """The adversarial loss of D."""
        latents, fake_augmentation, real, real_augmentation = inputs
        return objectives.discriminator(
            self.backbone, self.discriminator, latents.part(start, stop), real[start:stop],
            self.images.part(fake_augmentation, start, stop), self.images.part(real_augmentation, start, stop),
        )  # fmt: skip

    def discriminator_reg(self, inputs: tuple[Tensor, Any], start: int, stop: int) -> Outcome:
        """R1 regularisation of D."""
        real, augmentation = inputs
        augment = self.images.part(augmentation, start, stop)
        return objectives.r1(self.discriminator, real[start:stop], self.schedule.r1_gamma, augment)

    @torch.no_grad()
    def _sample(self, count: int) -> Tensor:
        """uint8 [count, 3, R, R] from the averaged backbone with fixed codes."""
        codes = [self._codes[i : i + 1].to(self.device) for i in range(count)]
        images = [self.average(self.average.rows(code)) for code in codes]
        return signal_to_pixels(torch.cat(images).float()).cpu()

    def evaluate(self) -> tuple[dict[str, float], float | None]:
        """The distance of samples to the validation images."""
        return {}, None if self._score is None else self._score.of(self._sample(_NUM_SCORED), None)

    def save_contact_sheet(self, path: Path) -> None:
        """Write a grid of samples with fixed codes."""
        save_grid(path, self._sample(_NUM_SHOWN), columns=8)

    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged backbone."""
        snapshot = self.card
        card = DFMGANCard(
            kind="backbone", model=self.model, category=snapshot.category, defect=snapshot.defect, trained_kimg=kimg,
            data_digest=snapshot.data_digest, num_images=snapshot.num_images, training=snapshot.training, score=score,
            versions=snapshot.versions,
        )  # fmt: skip
        save_checkpoint(path, card, self.average.state_dict())
