"""Stage 1: the backbone and D on defect-free images (Sec. 3.1)."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defect_synth.config import TrainConfig
from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.discriminators import build_discriminator
from defect_synth.dfmgan.precision import choose_dtype, set_precision
from defect_synth.dfmgan.snapshot_score import Judge
from defect_synth.dfmgan.training_images import AugmentedReals, Reals
from defect_synth.engine.checkpoint import CheckpointInfo, library_versions, restore, save_checkpoint
from defect_synth.engine.draws import Draws, Latents, draw_latents
from defect_synth.engine.sheets import grid, save_sheet
from defect_synth.engine.stage import Phase, Stage, adam
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.samples import signal_to_pixels

BACKBONE = "backbone"
NUM_JUDGED = 64
NUM_SHOWN = 32


@dataclass(frozen=True)
class Pretrained:
    """What stage 1 hands over: state_dicts of the backbone as trained, of its average, and of D."""

    backbone: dict[str, Tensor]
    average: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    path: Path


def pretrain_stage(
    config: TrainConfig,
    category: str,
    images: ImageArrays,
    validation: ImageArrays | None,
    *,
    device: torch.device,
    features: FeatureExtractor | None = None,
    name: str = BACKBONE,
    start: Pretrained | None = None,
    reals: Reals | None = None,
) -> Stage:
    """Networks, phases and snapshots of stage 1, ready for `loop.run`.

    Args:
        config: Of the whole run.
        category: Object category, for the checkpoint.
        images: Defect-free training images.
        validation: Defect-free images kept apart to choose the best snapshot, or None to keep the last.
        device: Where to train.
        features: What the choice is judged with; None: random convolutions.
        name: Of the stage; anything but `backbone` is the defect that the images show.
        start: Weights to go on from; None: new ones.
        reals: The images with another augmentation than ADA; None: ADA as in `config`.

    Raises:
        CheckpointError: `start` is of another architecture.
    """
    stage_config = config.pretrain.model_copy(update={"micro_batch": config.micro_batch("pretrain")})
    torch.manual_seed(config.seed)  # initial weights only; nothing after this draws from the global state
    backbone = Backbone(config.model.backbone).to(device)
    discriminator = build_discriminator(config.model).to(device)
    average = copy.deepcopy(backbone).requires_grad_(False).eval()
    if start is not None:
        restore(backbone, start.backbone, start.path)
        restore(discriminator, start.discriminator, start.path)
        restore(average, start.average, start.path)
    dtype = choose_dtype(config.precision, device)
    for module in (backbone, average, discriminator):
        set_precision(module, dtype)
    reals = reals or AugmentedReals(images, stage_config, config.seed, device)
    mean = torch.zeros([], device=device)
    noise = backbone.noise_numel

    def latents(draws: Draws) -> Latents:
        return draw_latents(
            draws, stage_config.batch, config.model, mixing_prob=stage_config.style_mixing_prob,
            noise=noise, defect_noise=0, second=False,
        )  # fmt: skip

    def generator_main(context: tuple[Latents, Any], start: int, stop: int) -> objectives.Outcome:
        codes, augment = context[0].part(start, stop), reals.part(context[1], start, stop)
        return objectives.pretrain_generator(backbone, discriminator, codes, augment)

    def generator_reg(context: tuple[Latents, Tensor], start: int, stop: int) -> objectives.Outcome:
        return objectives.path_length(
            backbone, context[0].part(start, stop), context[1][start:stop], mean,
            stage_config.path_length_decay, stage_config.path_length_weight, stage_config.path_length_shrink,
        )  # fmt: skip

    def discriminator_main(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        codes, fake_augment, real, real_augment = context
        return objectives.discriminator(
            backbone, discriminator, codes.part(start, stop), real[start:stop],
            reals.part(fake_augment, start, stop), reals.part(real_augment, start, stop),
        )  # fmt: skip

    def discriminator_reg(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        real, augment = context
        return objectives.r1(discriminator, real[start:stop], stage_config.r1_gamma, reals.part(augment, start, stop))

    image_shape = (config.model.backbone.image_channels, images.resolution, images.resolution)
    phases = [Phase("Gmain", backbone, 1, lambda d, i: (latents(d), reals.augmentation(d, 20)), generator_main)]
    if stage_config.path_length_weight > 0:
        phases.append(
            Phase("Greg", backbone, stage_config.path_length_interval,
                  lambda d, i: (latents(d), d.normal(21, stage_config.batch, *image_shape)), generator_reg)
        )  # fmt: skip
    phases.append(
        Phase("Dmain", discriminator, 1,
              lambda d, i: (latents(d), reals.augmentation(d, 22), reals.batch(i)[0], reals.augmentation(d, 23)),
              discriminator_main)
    )  # fmt: skip
    if stage_config.r1_gamma > 0:
        phases.append(
            Phase("Dreg", discriminator, stage_config.r1_interval,
                  lambda d, i: (reals.batch(i)[0], reals.augmentation(d, 24)), discriminator_reg)
        )  # fmt: skip

    judge = None if validation is None else Judge(images, validation, features)
    codes = Draws(config.seed, 0, 99, torch.device("cpu")).normal(1, NUM_JUDGED, config.model.backbone.z_dim)

    @torch.no_grad()
    def sampled(count: int) -> Tensor:
        """uint8 [count, 3, R, R] from the averaged backbone, fixed codes."""
        rows = [average(average.rows(codes[i : i + 1].to(device))) for i in range(count)]
        return signal_to_pixels(torch.cat(rows).float()).cpu()

    def evaluate() -> tuple[dict[str, float], float | None]:
        if judge is None:
            return {}, None
        return {}, judge.score(sampled(NUM_JUDGED), None)

    def sample_sheet(path: Path) -> None:
        save_sheet(path, grid(sampled(NUM_SHOWN), columns=8))

    training = {"seed": config.seed, "precision": str(dtype), "stage": 1,
                **config.pretrain.model_dump(mode="json", exclude={"total_kimg"})}  # fmt: skip
    info = CheckpointInfo(
        kind="training", model=config.model, category=category, defect=None if name == BACKBONE else name,
        data_digest=images.digest, num_images=len(images), training=training, versions=library_versions(),
    )  # fmt: skip

    def export(path: Path, kimg: float, score: float | None) -> None:
        ready = info.model_copy(update={"kind": "backbone", "trained_kimg": kimg, "score": score})
        save_checkpoint(path, ready, average.state_dict())

    return Stage(
        name=name,
        config=stage_config,
        phases=phases,
        optimizers={
            "backbone": adam(backbone.parameters(), stage_config, stage_config.path_length_interval,
                             stage_config.path_length_weight > 0),
            "discriminator": adam(discriminator.parameters(), stage_config, stage_config.r1_interval,
                                  stage_config.r1_gamma > 0),
        },
        modules={"backbone": backbone, "discriminator": discriminator, "average": average},
        averaged=list(zip(average.parameters(), backbone.parameters(), strict=True)),
        copied=list(zip(average.buffers(), backbone.buffers(), strict=True)),
        ada=reals.ada,
        scalars={"path_length_mean": mean},
        evaluate=evaluate,
        sample_sheet=sample_sheet,
        export=export,
        info=info,
        device=device,
        seed=config.seed,
        moved=[backbone.mapping.w_avg],
    )  # fmt: skip
