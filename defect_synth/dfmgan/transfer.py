"""Stage 2: defect mapping, residual blocks, D and D_match on one defect, the backbone frozen (Sec. 3.2, Eq. 3)."""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan import objectives
from defect_synth.dfmgan.config import TrainConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.latents import Latents, draw_latents
from defect_synth.dfmgan.mask_limits import as_drawn, box_of
from defect_synth.dfmgan.precision import choose_dtype, set_precision
from defect_synth.dfmgan.pretrain import Pretrained
from defect_synth.dfmgan.snapshot_score import Judge
from defect_synth.dfmgan.training_images import AugmentedReals
from defect_synth.engine.checkpoint import CheckpointInfo, library_versions, restore, save_checkpoint
from defect_synth.engine.contact_sheet import grid, save_sheet
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Phase, Stage, adam
from defect_synth.metrics import collapse
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.samples import signal_to_pixels

log = logging.getLogger(__name__)

NUM_OBJECTS = 16  # judged: this many objects ...
NUM_DEFECTS = 4  # ... with this many defects each
_LEAST_FOUND = 0.2  # share of samples with a mask, below which a snapshot is no choice
_NO_DEFECTS = 1e9  # the score of such a snapshot: any other is better


def transfer_stage(
    config: TrainConfig,
    category: str,
    defect: str,
    images: ImageArrays,
    validation: ImageArrays | None,
    pretrained: Pretrained,
    *,
    device: torch.device,
    features: FeatureExtractor | None = None,
) -> Stage:
    """Networks, phases and snapshots of stage 2, ready for `loop.run`.

    Args:
        config: Of the whole run.
        category: Object category.
        defect: Defect category.
        images: Base images of this defect with their masks.
        validation: Images kept apart to choose the best snapshot, or None to keep the last.
        pretrained: Stage 1.
        device: Where to train.
        features: What the choice is judged with; None: random convolutions.

    Raises:
        CheckpointError: Stage 1 was trained with another architecture.
    """
    stage_config = config.transfer.model_copy(update={"micro_batch": config.micro_batch("transfer")})
    protocol = stage_config.protocol
    seed = config.seed
    torch.manual_seed(seed)  # initial weights only; nothing after this draws from the global state
    model = config.model
    if protocol.confine_masks:
        residual = model.residual.model_copy(update={"mask_box": box_of(images.masks)})
        model = model.model_copy(update={"residual": residual})
    generator = DFMGAN(model)
    frozen = pretrained.average if protocol.frozen_weights == "ema" else pretrained.backbone
    restore(generator.backbone, frozen, pretrained.path)
    generator.to(device)
    average = copy.deepcopy(generator)
    restore(average.backbone, pretrained.average, pretrained.path)
    average.requires_grad_(False).eval()
    generator.backbone.requires_grad_(False)
    discriminator = build_discriminator(config.model)
    restore(discriminator, pretrained.discriminator, pretrained.path)
    discriminator.to(device)
    match = build_match_discriminator(config.model).to(device)
    dtype = choose_dtype(config.precision, device)
    for module in (generator, average, discriminator, match):
        set_precision(module, dtype)
    shown = images
    if protocol.coarse_masks:
        shown = replace(images, masks=as_drawn(images.masks, model.residual.first_resolution))
    reals = AugmentedReals(shown, stage_config, seed, device, cap_p=protocol.cap_p)
    mean = torch.zeros([], device=device)
    noise, defect_noise = generator.backbone.noise_numel, generator.defect_noise_numel
    joint = protocol.joint_augmentation

    def latents(draws: Draws, second: bool = False) -> Latents:
        return draw_latents(
            draws, stage_config.batch, config.model, mixing_prob=stage_config.style_mixing_prob,
            noise=noise, defect_noise=defect_noise, second=second,
        )  # fmt: skip

    def generator_main(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        codes, image_augment, pair_augment = context
        return objectives.transfer_generator(
            generator, discriminator, match, codes.part(start, stop), stage_config,
            reals.part(image_augment, start, stop), reals.pair_part(pair_augment, start, stop),
        )  # fmt: skip

    def generator_reg(context: tuple[Latents, Tensor], start: int, stop: int) -> objectives.Outcome:
        return objectives.path_length(
            generator, context[0].part(start, stop), context[1][start:stop], mean,
            stage_config.path_length_decay, stage_config.path_length_weight, stage_config.path_length_shrink,
        )  # fmt: skip

    def discriminator_main(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        codes, fake_augment, real, real_augment = context
        return objectives.discriminator(
            generator, discriminator, codes.part(start, stop), real[start:stop],
            reals.part(fake_augment, start, stop), reals.part(real_augment, start, stop),
        )  # fmt: skip

    def discriminator_reg(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        real, augment = context
        return objectives.r1(discriminator, real[start:stop], stage_config.r1_gamma, reals.part(augment, start, stop))

    def match_main(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        codes, fake_augment, (real, mask), real_augment = context
        return objectives.match_discriminator(
            generator, match, codes.part(start, stop), real[start:stop], mask[start:stop], stage_config.tanh_gain,
            reals.pair_part(fake_augment, start, stop), reals.pair_part(real_augment, start, stop),
        )  # fmt: skip

    def match_reg(context, start: int, stop: int) -> objectives.Outcome:  # type: ignore[no-untyped-def] # noqa: ANN001
        (real, mask), augment = context
        pair_augment = reals.pair_part(augment, start, stop)
        channels = real.shape[1]

        def jointly(stacked: Tensor) -> Tensor:
            return torch.cat(pair_augment(stacked[:, :channels], stacked[:, channels:]), dim=1)

        pair = torch.cat([real[start:stop], mask[start:stop]], dim=1)
        outcome = objectives.r1(match, pair, stage_config.r1_gamma, jointly)
        return objectives.Outcome(outcome.loss, {"r1_penalty_match": outcome.terms["r1_penalty"]})

    def pair(draws: Draws, stream: int):  # type: ignore[no-untyped-def] # noqa: ANN202
        return reals.augmentation(draws, stream) if joint else None

    second = not protocol.shared_noise and stage_config.lambda_mode_seeking > 0
    shape = (config.model.backbone.image_channels, images.resolution, images.resolution)
    phases = [
        Phase("Gmain", generator, 1,
              lambda d, i: (latents(d, second), reals.augmentation(d, 20), pair(d, 25)), generator_main)
    ]  # fmt: skip
    if stage_config.path_length_weight > 0:
        phases.append(
            Phase("Greg", generator, stage_config.path_length_interval,
                  lambda d, i: (latents(d), d.normal(21, stage_config.batch, *shape)), generator_reg)
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
    phases.append(
        Phase("D_matchmain", match, 1,
              lambda d, i: (latents(d), pair(d, 26), reals.batch(i), pair(d, 27)), match_main)
    )  # fmt: skip
    if stage_config.r1_gamma > 0:
        phases.append(
            Phase("D_matchreg", match, stage_config.r1_interval,
                  lambda d, i: (reals.batch(i), pair(d, 28)), match_reg)
        )  # fmt: skip

    judge = None if validation is None else Judge(images, validation, features, with_masks=True)
    real_masks = collapse.MaskStatistics.of(images.masks)
    warned: list[str] = []  # what the last snapshot was warned of, so that a lasting fault is named once
    codes = Draws(seed, 0, 99, torch.device("cpu"))
    z_object = codes.normal(1, NUM_OBJECTS, config.model.backbone.z_dim)
    z_defect = codes.normal(2, NUM_OBJECTS * NUM_DEFECTS, config.model.backbone.z_dim)

    @torch.no_grad()
    def sampled(defects: int) -> tuple[Tensor, Tensor, Tensor]:
        """Fixed codes through the average: clean [G, 3, R, R], images [G, K, 3, R, R], masks [G, K, R, R]; uint8."""
        cleans, pictures, masks = [], [], []
        for g in range(NUM_OBJECTS):
            w_object = average.backbone.rows(z_object[g : g + 1].to(device))
            trunk = average.trunk(w_object)
            cleans.append(average.paint(trunk, w_object, None).image)
            for k in range(defects):
                z = z_defect[g * NUM_DEFECTS + k][None].to(device)
                out = average.paint(trunk, w_object, average.defect_rows(z))
                pictures.append(out.image)
                masks.append((out.mask_logits[:, 0] >= average.threshold).to(torch.uint8))
        side = cleans[0].shape[2]
        return (
            signal_to_pixels(torch.cat(cleans).float()).cpu(),
            signal_to_pixels(torch.cat(pictures).float()).cpu().reshape(NUM_OBJECTS, defects, -1, side, side),
            torch.cat(masks).cpu().reshape(NUM_OBJECTS, defects, side, side),
        )

    def evaluate() -> tuple[dict[str, float], float | None]:
        _, pictures, masks = sampled(NUM_DEFECTS)
        pixels = pictures.permute(0, 1, 3, 4, 2).numpy()
        if pixels.shape[-1] == 1:
            pixels = np.repeat(pixels, 3, axis=-1)
        figures = collapse.report(pixels, masks.numpy())
        advice = collapse.warnings(figures, real_masks)
        for line in advice:
            if line not in warned:
                log.warning("%s: %s", defect, line)
        warned[:] = advice
        # What has no mask is thrown away by whoever uses samples; in a cubic kernel its features would drown the rest.
        if judge is None:
            return figures, None
        found = masks.flatten(0, 1).flatten(1).bool().any(dim=1)
        if float(found.float().mean()) < _LEAST_FOUND:
            return figures, _NO_DEFECTS
        score = judge.score(pictures.flatten(0, 1)[found], masks.flatten(0, 1)[found])
        return figures, score

    def sample_sheet(path: Path) -> None:
        clean, pictures, masks = sampled(2)
        shown = masks[:, :, None].expand_as(pictures) * 255
        # Two objects a row: clean | mask | defect | another mask | another defect.
        columns = torch.stack([clean, shown[:, 0], pictures[:, 0], shown[:, 1], pictures[:, 1]], dim=1)
        save_sheet(path, grid(columns.flatten(0, 1), columns=10))

    training = {"seed": seed, "precision": str(dtype), "stage": 2,
                **config.transfer.model_dump(mode="json", exclude={"total_kimg"})}  # fmt: skip
    info = CheckpointInfo(
        kind="training", model=model, category=category, defect=defect, data_digest=images.digest,
        num_images=len(images), training=training, versions=library_versions(),
    )  # fmt: skip

    def export(path: Path, kimg: float, score: float | None) -> None:
        ready = info.model_copy(update={"kind": "dfmgan", "trained_kimg": kimg, "score": score})
        save_checkpoint(path, ready, average.state_dict())

    # Averaging tensors that never move would only cost time; the official protocol pulls the average to the raw ones.
    sources = dict(generator.named_parameters())
    moving = {
        name: (tensor, sources[name])
        for name, tensor in average.named_parameters()
        if sources[name].requires_grad or protocol.frozen_weights == "raw"
    }
    copied = [
        (tensor, dict(generator.named_buffers())[name])
        for name, tensor in average.named_buffers()
        if not name.startswith("backbone.")
    ]
    trained = [*generator.defect_mapping.parameters(), *generator.residual.parameters()]
    greg = stage_config.path_length_interval
    r1_every, with_r1 = stage_config.r1_interval, stage_config.r1_gamma > 0
    return Stage(
        name=defect,
        config=stage_config,
        phases=phases,
        optimizers={
            "generator": adam(trained, stage_config, greg, stage_config.path_length_weight > 0),
            "discriminator": adam(discriminator.parameters(), stage_config, r1_every, with_r1),
            "match": adam(match.parameters(), stage_config, r1_every, with_r1),
        },
        modules={"generator": generator, "discriminator": discriminator, "match": match, "average": average},
        averaged=list(moving.values()),
        copied=copied,
        ada=reals.ada,
        scalars={"path_length_mean": mean},
        evaluate=evaluate,
        sample_sheet=sample_sheet,
        export=export,
        info=info,
        device=device,
        seed=seed,
        moved=[generator.defect_mapping.w_avg],
    )
