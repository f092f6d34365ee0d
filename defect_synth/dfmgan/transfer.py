"""Stage 2: defect mapping, residual blocks, D and D_match on one defect, the backbone frozen (Sec. 3.2, Eq. 3)."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.ada import Augmentation
from defect_synth.dfmgan.adversarial_stage import AdversarialStage
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import ModelConfig, TrainConfig, TransferConfig
from defect_synth.dfmgan.discriminators import Discriminator, build_discriminator, build_match_discriminator
from defect_synth.dfmgan.fixed_samples import NUM_DEFECTS, FixedSamples
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.latents import Latents, draw_latents
from defect_synth.dfmgan.mask_limits import box_of, coarsen
from defect_synth.dfmgan.precision import choose_dtype, set_precision
from defect_synth.dfmgan.pretrain import Pretrained
from defect_synth.dfmgan.snapshot_score import SnapshotScore
from defect_synth.dfmgan.training_images import AdaImages
from defect_synth.engine.checkpoint import TrainingCard, library_versions, restore, save_checkpoint
from defect_synth.engine.contact_sheet import save_grid
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Outcome, Phase, adam
from defect_synth.metrics import collapse
from defect_synth.metrics.features import FeatureExtractor

log = logging.getLogger(__name__)

_MIN_SHARE_WITH_MASK = 0.2  # of the samples; a snapshot with fewer cannot be the best
_NO_DEFECTS = 1e9  # the score of such a snapshot, worse than any other


@dataclass(frozen=True)
class TransferNetworks:
    """The networks of stage 2.

    Attributes:
        generator: The backbone is frozen; the defect mapping and the residual branch are trained.
        average: Weight average of the generator.
        discriminator: D, which goes on from stage 1.
        match: D_match, which starts anew.
    """

    generator: DFMGAN
    average: DFMGAN
    discriminator: Discriminator
    match: Discriminator


def build_networks(
    config: TrainConfig, model: ModelConfig, pretrained: Pretrained, device: torch.device
) -> TransferNetworks:
    """Build the networks of stage 2 around what stage 1 has trained; initial weights are a function of the seed.

    Raises:
        CheckpointError: Stage 1 was trained with another architecture.
    """
    torch.manual_seed(config.seed)  # initial weights only; nothing after this draws from the global state
    generator = DFMGAN(model)
    ema = config.transfer.protocol.frozen_weights == "ema"
    restore(generator.backbone, pretrained.average if ema else pretrained.backbone, pretrained.path)
    generator.to(device)
    average = copy.deepcopy(generator)
    restore(average.backbone, pretrained.average, pretrained.path)
    average.requires_grad_(False).eval()
    generator.backbone.requires_grad_(False)
    discriminator = build_discriminator(config.model)
    restore(discriminator, pretrained.discriminator, pretrained.path)
    networks = TransferNetworks(
        generator, average, discriminator.to(device), build_match_discriminator(config.model).to(device)
    )
    dtype = choose_dtype(config.precision, device)
    for module in (generator, average, networks.discriminator, networks.match):
        set_precision(module, dtype)
    return networks


class TransferStage(AdversarialStage):
    """Stage 2 on one defect category, ready for `loop.run`.

    Args:
        config: Settings of the whole run; the schedule is `config.transfer`.
        category: Object category, for the checkpoint.
        defect: Defect category.
        images: Base images of this defect with their masks.
        validation: Images kept apart to choose the best snapshot; None: keep the last.
        pretrained: What stage 1 has trained.
        device: Where to train.
        features: Features that snapshots are compared by; None: random convolutions.

    Raises:
        CheckpointError: Stage 1 was trained with another architecture.
    """

    def __init__(
        self,
        config: TrainConfig,
        category: str,
        defect: str,
        images: ImageArrays,
        validation: ImageArrays | None,
        pretrained: Pretrained,
        *,
        device: torch.device,
        features: FeatureExtractor | None = None,
    ) -> None:
        schedule = config.transfer.model_copy(update={"micro_batch": config.micro_batch("transfer")})
        protocol = schedule.protocol
        model = config.model
        if protocol.confine_masks:
            residual = model.residual.model_copy(update={"mask_box": box_of(images.masks)})
            model = model.model_copy(update={"residual": residual})
        self.networks = networks = build_networks(config, model, pretrained, device)
        shown = images
        if protocol.coarse_masks:
            shown = replace(images, masks=coarsen(images.masks, model.residual.first_resolution))
        self.images = AdaImages(shown, schedule, config.seed, device, cap_p=protocol.cap_p)
        training = {
            "seed": config.seed, "precision": str(choose_dtype(config.precision, device)), "stage": 2,
            **config.transfer.model_dump(mode="json", exclude={"total_kimg"}),
        }  # fmt: skip
        card = TrainingCard(
            method="dfmgan", category=category, defect=defect, data_digest=images.digest, num_images=len(images),
            training=training, networks=model.model_dump(mode="json"), versions=library_versions(),
        )  # fmt: skip
        super().__init__(defect, schedule, card, device, config.seed, self.images.ada)
        self.model, self.schedule = model, schedule
        self.scalars = {"path_length_mean": torch.zeros([], device=device)}
        self.phases = self._phases()
        self.optimizers = _optimizers(networks, schedule)
        self.modules = {
            "generator": networks.generator, "discriminator": networks.discriminator, "match": networks.match,
            "average": networks.average,
        }  # fmt: skip
        self.averaged, self.copied = _averages(networks, raw=protocol.frozen_weights == "raw")
        self.moved = [networks.generator.defect_mapping.w_avg]
        self._samples = FixedSamples(networks.average, config.seed, device)
        self._score = None if validation is None else SnapshotScore(images, validation, features, with_masks=True)
        self._training_masks = collapse.MaskStatistics.of(images.masks)
        self._warned: tuple[str, ...] = ()  # at the last snapshot, so that a lasting fault is named once

    def _phases(self) -> list[Phase]:
        schedule, networks = self.schedule, self.networks
        lazy, with_r1 = schedule.r1_interval, schedule.r1_gamma > 0
        phases = [Phase("Gmain", networks.generator, 1, self._generator_inputs, self.generator_main)]
        if schedule.path_length_weight > 0:
            every = schedule.path_length_interval
            phases.append(Phase("Greg", networks.generator, every, self._path_inputs, self.generator_reg))
        phases.append(Phase("Dmain", networks.discriminator, 1, self._discriminator_inputs, self.discriminator_main))
        if with_r1:
            phases.append(Phase("Dreg", networks.discriminator, lazy, self._r1_inputs, self.discriminator_reg))
        phases.append(Phase("D_matchmain", networks.match, 1, self._match_inputs, self.match_main))
        if with_r1:
            phases.append(Phase("D_matchreg", networks.match, lazy, self._match_r1_inputs, self.match_reg))
        return phases

    # Each kind of draw has a stream number of its own, so that no phase's draws depend on which others run.

    def _generator_inputs(self, draws: Draws, iteration: int) -> tuple[Latents, Any, Any]:
        second_pass = not self.schedule.protocol.shared_noise and self.schedule.lambda_mode_seeking > 0
        latents = self.latents(draws, second_pass=second_pass)
        return latents, self.images.augmentation(draws, 20), self._pair_augmentation(draws, 25)

    def _path_inputs(self, draws: Draws, iteration: int) -> tuple[Latents, Tensor]:
        backbone = self.model.backbone
        shape = (self.schedule.batch, backbone.image_channels, backbone.resolution, backbone.resolution)
        return self.latents(draws), draws.normal(21, *shape)

    def _discriminator_inputs(self, draws: Draws, iteration: int) -> tuple[Latents, Any, Tensor, Any]:
        fake, real = self.images.augmentation(draws, 22), self.images.augmentation(draws, 23)
        return self.latents(draws), fake, self.images.batch(iteration)[0], real

    def _r1_inputs(self, draws: Draws, iteration: int) -> tuple[Tensor, Any]:
        return self.images.batch(iteration)[0], self.images.augmentation(draws, 24)

    def _match_inputs(self, draws: Draws, iteration: int) -> tuple[Latents, Any, tuple[Tensor, Tensor], Any]:
        fake, real = self._pair_augmentation(draws, 26), self._pair_augmentation(draws, 27)
        return self.latents(draws), fake, self.images.batch(iteration), real

    def _match_r1_inputs(self, draws: Draws, iteration: int) -> tuple[tuple[Tensor, Tensor], Any]:
        return self.images.batch(iteration), self._pair_augmentation(draws, 28)

    def latents(self, draws: Draws, *, second_pass: bool = False) -> Latents:
        """Codes and noise of a batch, with the noise of the second pass of Eq. 2 where it has its own."""
        generator = self.networks.generator
        return draw_latents(
            draws, self.schedule.batch, self.model, mixing_prob=self.schedule.style_mixing_prob,
            noise=generator.backbone.noise_numel, defect_noise=generator.defect_noise_numel, second=second_pass,
        )  # fmt: skip

    def _pair_augmentation(self, draws: Draws, stream: int) -> Augmentation | None:
        """Augmentation of image and mask together; the authors' D_match sees them as they are."""
        return self.images.augmentation(draws, stream) if self.schedule.protocol.joint_augmentation else None

    def generator_main(self, inputs: tuple[Latents, Any, Any], start: int, stop: int) -> Outcome:
        """The generator's loss of Eq. 3."""
        latents, augmentation, pair_augmentation = inputs
        networks = self.networks
        return objectives.transfer_generator(
            networks.generator, networks.discriminator, networks.match, latents.part(start, stop), self.schedule,
            self.images.part(augmentation, start, stop), self.images.pair_part(pair_augmentation, start, stop),
        )  # fmt: skip

    def generator_reg(self, inputs: tuple[Latents, Tensor], start: int, stop: int) -> Outcome:
        """Path length regularisation."""
        latents, noise = inputs
        return objectives.path_length(
            self.networks.generator, latents.part(start, stop), noise[start:stop], self.scalars["path_length_mean"],
            self.schedule.path_length_decay, self.schedule.path_length_weight, self.schedule.path_length_shrink,
        )  # fmt: skip

    def discriminator_main(self, inputs: tuple[Latents, Any, Tensor, Any], start: int, stop: int) -> Outcome:
        """The adversarial loss of D."""
        latents, fake_augmentation, real, real_augmentation = inputs
        return objectives.discriminator(
            self.networks.generator, self.networks.discriminator, latents.part(start, stop), real[start:stop],
            self.images.part(fake_augmentation, start, stop), self.images.part(real_augmentation, start, stop),
        )  # fmt: skip

    def discriminator_reg(self, inputs: tuple[Tensor, Any], start: int, stop: int) -> Outcome:
        """R1 regularisation of D."""
        real, augmentation = inputs
        augment = self.images.part(augmentation, start, stop)
        return objectives.r1(self.networks.discriminator, real[start:stop], self.schedule.r1_gamma, augment)

    def match_main(self, inputs: tuple[Latents, Any, tuple[Tensor, Tensor], Any], start: int, stop: int) -> Outcome:
        """The adversarial loss of D_match."""
        latents, fake_augmentation, (real, mask), real_augmentation = inputs
        return objectives.match_discriminator(
            self.networks.generator, self.networks.match, latents.part(start, stop), real[start:stop],
            mask[start:stop], self.schedule.tanh_gain, self.images.pair_part(fake_augmentation, start, stop),
            self.images.pair_part(real_augmentation, start, stop),
        )  # fmt: skip

    def match_reg(self, inputs: tuple[tuple[Tensor, Tensor], Any], start: int, stop: int) -> Outcome:
        """R1 regularisation of D_match, with respect to image and mask."""
        (real, mask), augmentation = inputs
        augment = self.images.pair_part(augmentation, start, stop)
        channels = real.shape[1]

        def augment_stacked(stacked: Tensor) -> Tensor:
            return torch.cat(augment(stacked[:, :channels], stacked[:, channels:]), dim=1)

        stacked = torch.cat([real[start:stop], mask[start:stop]], dim=1)
        outcome = objectives.r1(self.networks.match, stacked, self.schedule.r1_gamma, augment_stacked)
        return Outcome(outcome.loss, {"r1_penalty_match": outcome.terms["r1_penalty"]})

    def evaluate(self) -> tuple[dict[str, float], float | None]:
        """Figures of mask collapse and of variety, and the distance of the samples to the validation images."""
        _, images, masks = self._samples.draw(NUM_DEFECTS)
        pixels = images.permute(0, 1, 3, 4, 2).numpy()
        if pixels.shape[-1] == 1:
            pixels = np.repeat(pixels, 3, axis=-1)
        figures = collapse.report(pixels, masks.numpy())
        warnings = collapse.warnings(figures, self._training_masks)
        for line in warnings:
            if line not in self._warned:
                log.warning("%s: %s", self.name, line)
        self._warned = warnings
        if self._score is None:
            return figures, None
        # Users of samples discard those without a mask; in a cubic kernel their features would outweigh all others.
        with_mask = masks.flatten(0, 1).flatten(1).bool().any(dim=1)
        if float(with_mask.float().mean()) < _MIN_SHARE_WITH_MASK:
            return figures, _NO_DEFECTS
        return figures, self._score.of(images.flatten(0, 1)[with_mask], masks.flatten(0, 1)[with_mask])

    def save_contact_sheet(self, path: Path) -> None:
        """Write a grid of samples, two objects a row: clean | mask | defect | another mask | another defect."""
        clean, images, masks = self._samples.draw(2)
        shown = masks[:, :, None].expand_as(images) * 255
        columns = torch.stack([clean, shown[:, 0], images[:, 0], shown[:, 1], images[:, 1]], dim=1)
        save_grid(path, columns.flatten(0, 1), columns=10)

    def export(self, path: Path, kimg: float, score: float | None) -> None:
        """Write the averaged generator."""
        save_checkpoint(path, dfmgan_card(self.card, kimg, score), self.networks.average.state_dict())


def dfmgan_card(snapshot: TrainingCard, kimg: float, score: float | None) -> DFMGANCard:
    """The card of the generator that a snapshot of stage 2 holds, after `kimg` thousands of images."""
    return DFMGANCard(
        kind="dfmgan", model=ModelConfig.model_validate(snapshot.networks), category=snapshot.category,
        defect=snapshot.defect, trained_kimg=kimg, data_digest=snapshot.data_digest, num_images=snapshot.num_images,
        training=snapshot.training, score=score, versions=snapshot.versions,
    )  # fmt: skip


def _optimizers(networks: TransferNetworks, schedule: TransferConfig) -> dict[str, torch.optim.Optimizer]:
    generator = networks.generator
    trained = [*generator.defect_mapping.parameters(), *generator.residual.parameters()]
    path_every, with_path = schedule.path_length_interval, schedule.path_length_weight > 0
    r1_every, with_r1 = schedule.r1_interval, schedule.r1_gamma > 0
    return {
        "generator": adam(trained, schedule, path_every, with_path),
        "discriminator": adam(networks.discriminator.parameters(), schedule, r1_every, with_r1),
        "match": adam(networks.match.parameters(), schedule, r1_every, with_r1),
    }


_Pairs = list[tuple[Tensor, Tensor]]


def _averages(networks: TransferNetworks, *, raw: bool) -> tuple[_Pairs, _Pairs]:
    """Pairs (average, source) of the parameters to average and of the buffers to copy.

    Averaging what never moves would only cost time. With `raw`, the official protocol, the generator's backbone has
    other weights than the average's, which are pulled towards them.
    """
    parameters, buffers = dict(networks.generator.named_parameters()), dict(networks.generator.named_buffers())
    averaged: _Pairs = [
        (tensor, parameters[name])
        for name, tensor in networks.average.named_parameters()
        if parameters[name].requires_grad or raw
    ]
    copied: _Pairs = [
        (tensor, buffers[name]) for name, tensor in networks.average.named_buffers() if not name.startswith("backbone.")
    ]
    return averaged, copied
