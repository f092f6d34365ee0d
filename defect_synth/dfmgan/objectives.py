"""The loss of each training phase as a function of given codes, images and noise.

Nothing here draws random numbers or changes a weight: a phase returns what to minimise and the terms to log, and
`engine.loop` multiplies the loss of lazy phases by their interval, calls `backward` and steps the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import TransferConfig
from defect_synth.dfmgan.discriminators import Discriminator
from defect_synth.dfmgan.generator import DFMGAN, Synthesis
from defect_synth.dfmgan.latents import Latents
from defect_synth.dfmgan.losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    mode_seeking_loss,
    path_lengths,
    soft_mask,
)
from defect_synth.engine.stage import Outcome

REAL_SIGN = "real_sign"
"""Logged term: the mean sign of D on training images, by which ADA measures overfitting."""

Augment = Callable[[Tensor], Tensor]
PairAugment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _same(image: Tensor) -> Tensor:
    return image


def _same_pair(image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return image, mask


def _mixed(rows: Tensor, other: Tensor | None, cut: int | None) -> Tensor:
    """Style mixing: the rows from `cut` on come from other codes (Karras et al. 2019, Sec. 3.1)."""
    if cut is None or other is None:
        return rows
    return torch.cat([rows[:, :cut], other[:, cut:]], dim=1)


def object_rows(backbone: Backbone, latents: Latents, *, track: bool) -> Tensor:
    """w_object [N, num_ws, w_dim] with style mixing; `track` moves the mapping's average w."""
    rows = backbone.rows(latents.z_object)
    if track:
        backbone.mapping.track_average(rows[:, 0])
    if latents.cut_object is None or latents.z_object_mix is None:
        return rows
    return _mixed(rows, backbone.rows(latents.z_object_mix), latents.cut_object)


def defect_rows(generator: DFMGAN, latents: Latents, *, track: bool) -> Tensor:
    """w_defect [N, num_defect_ws, w_dim] with style mixing."""
    assert latents.z_defect is not None
    rows = generator.defect_rows(latents.z_defect)
    if track:
        generator.defect_mapping.track_average(rows[:, 0])
    if latents.cut_defect is None or latents.z_defect_mix is None:
        return rows
    return _mixed(rows, generator.defect_rows(latents.z_defect_mix), latents.cut_defect)


def fake(generator: Backbone | DFMGAN, latents: Latents) -> tuple[Tensor, Tensor | None]:
    """Image [N, 3, R, R] and, from a DFMGAN, mask logits, without gradients: input of the discriminators' phases."""
    with torch.no_grad():
        if isinstance(generator, DFMGAN):
            w_object = object_rows(generator.backbone, latents, track=False)
            w_defect = defect_rows(generator, latents, track=False)
            out = generator(w_object, w_defect, latents.noise_object, latents.noise_defect)
            return out.image, out.mask_logits
        return generator(object_rows(generator, latents, track=False), latents.noise_object), None


def pretrain_generator(
    generator: Backbone, discriminator: Discriminator, latents: Latents, augment: Augment = _same
) -> Outcome:
    """The generator's adversarial loss of stage 1."""
    image = generator(object_rows(generator, latents, track=True), latents.noise_object)
    logits = discriminator(augment(image))
    loss = generator_loss(logits)
    return Outcome(loss, {"generator": loss.detach(), "fake_logit": logits.detach().mean()})


def transfer_generator(
    generator: DFMGAN,
    discriminator: Discriminator,
    match_discriminator: Discriminator,
    latents: Latents,
    config: TransferConfig,
    augment: Augment = _same,
    augment_pair: PairAugment = _same_pair,
) -> Outcome:
    """The generator's loss of stage 2 (Eq. 3).

    The frozen blocks below the first residual block have no graph. Where the two passes of Eq. 2 share their noise,
    both start from the same output of these blocks.
    """
    protocol = config.protocol
    with torch.no_grad():
        w_object = object_rows(generator.backbone, latents, track=False)
        trunk = generator.trunk(w_object, latents.noise_object)
    w_defect = defect_rows(generator, latents, track=True)
    out: Synthesis = generator.paint(trunk, w_object, w_defect, latents.noise_object, latents.noise_defect)
    mask = soft_mask(out.mask_logits, config.tanh_gain)
    mask_for_match = soft_mask(out.mask_logits, config.tanh_gain, protocol.mask_leak)
    logits = discriminator(augment(out.image))
    match_logits = match_discriminator(torch.cat(augment_pair(out.image, mask_for_match.float()), dim=1))
    adversarial = generator_loss(logits)
    match = generator_loss(match_logits)
    generator_total = adversarial + config.lambda_match * match
    terms = {
        "generator": generator_total.detach(),
        "fake_logit": logits.detach().mean(),
        "fake_match_logit": match_logits.detach().mean(),
        "mask_area": (out.mask_logits >= generator.threshold).float().mean(),
    }
    loss = generator_total
    if config.lambda_mode_seeking > 0:
        half = len(latents) // 2
        noise_object, noise_defect = latents.noise_object, latents.noise_defect
        first = type(trunk)(trunk.features[:half], trunk.rgb[:half])
        if not protocol.shared_noise and latents.noise_object_2 is not None:
            noise_object, noise_defect = latents.noise_object_2, latents.noise_defect_2
            with torch.no_grad():
                first = generator.trunk(w_object[:half], noise_object[:half])
        swapped = generator.mask(first, w_defect[half:], None if noise_defect is None else noise_defect[:half])
        seek = mode_seeking_loss(
            w_defect[:half], w_defect[half:], mask[:half], soft_mask(swapped, config.tanh_gain),
            protocol.mode_seeking_epsilon,
        )  # fmt: skip
        terms["mode_seeking"] = seek.detach()
        loss = loss + config.lambda_mode_seeking * seek
    if protocol.guard_masks:
        guard = saturation_guard(out.mask_logits, config.tanh_gain)
        terms["mask_guard"] = guard.detach()
        loss = loss + guard
    return Outcome(loss, terms)


def saturation_guard(mask_logits: Tensor, tanh_gain: float) -> Tensor:
    """Penalty on masks that are saturated everywhere, all black or all white. Not in the paper.

    A saturated soft mask has no gradient, so D_match can no longer move it, and training would not recover. The penalty
    is 0 for a mask with a pixel near the threshold or with pixels of both signs, so it never shapes a working mask.
    """
    near = 2.0 / tanh_gain  # tanh(2) = 0.96, where there is still some gradient
    logits = mask_logits.float().flatten(1)
    black = torch.relu(-near - logits.amax(dim=1))
    white = torch.relu(logits.amin(dim=1) - near)
    return (black + white).mean()


def discriminator(
    generator: Backbone | DFMGAN,
    network: Discriminator,
    latents: Latents,
    real: Tensor,
    augment_fake: Augment = _same,
    augment_real: Augment = _same,
) -> Outcome:
    """The loss of D; its terms have the mean sign of the logits of real images, which ADA needs."""
    image, _ = fake(generator, latents)
    fake_logits, real_logits = network(augment_fake(image)), network(augment_real(real))
    loss = discriminator_loss(fake_logits, real_logits)
    return Outcome(
        loss,
        {
            "discriminator": loss.detach(),
            "real_logit": real_logits.detach().mean(),
            REAL_SIGN: real_logits.detach().sign().mean(),
            "fake_sign": fake_logits.detach().sign().mean(),
        },
    )


def match_discriminator(
    generator: DFMGAN,
    network: Discriminator,
    latents: Latents,
    real: Tensor,
    real_mask: Tensor,
    tanh_gain: float,
    augment_fake: PairAugment = _same_pair,
    augment_real: PairAugment = _same_pair,
) -> Outcome:
    """The loss of D_match on pairs of image and mask; real masks are exactly -1 or +1."""
    image, logits = fake(generator, latents)
    assert logits is not None
    fake_logits = network(torch.cat(augment_fake(image, soft_mask(logits, tanh_gain).float()), dim=1))
    real_logits = network(torch.cat(augment_real(real, real_mask), dim=1))
    loss = discriminator_loss(fake_logits, real_logits)
    return Outcome(
        loss,
        {
            "match": loss.detach(),
            "real_match_sign": real_logits.detach().sign().mean(),
            "fake_match_sign": fake_logits.detach().sign().mean(),
        },
    )


def r1(network: Discriminator, real: Tensor, gamma: float, augment: Augment = _same) -> Outcome:
    """R1 times gamma / 2, with respect to the images before augmentation (Karras et al. 2020a)."""
    real = real.detach().requires_grad_(True)
    penalty = gradient_penalty(network(augment(real)), real)
    return Outcome(penalty * (gamma / 2), {"r1_penalty": penalty.detach()})


def path_length(
    generator: Backbone | DFMGAN,
    latents: Latents,
    noise: Tensor,
    mean: Tensor,
    decay: float,
    weight: float,
    shrink: int,
) -> Outcome:
    """Squared deviation of path lengths from their running mean, which is updated first (Karras et al. 2020b).

    In stage 2 the path goes from w_object through the whole defect generator, as in the authors' program.

    Args:
        generator: The network.
        latents: Codes and noise of the batch, of which only one in `shrink` samples is used.
        noise: Standard normal, of the shape of the images.
        mean: Running mean of path lengths, a scalar.
        decay: Weight of the batch in the running mean.
        weight: Weight of the penalty.
        shrink: See `latents`.
    """
    count = max(1, len(latents) // shrink)
    latents = latents.part(0, count)
    if isinstance(generator, DFMGAN):
        with torch.no_grad():
            w = object_rows(generator.backbone, latents, track=False)
        w.requires_grad_(True)
        w_defect = defect_rows(generator, latents, track=False)
        image = generator(w, w_defect, latents.noise_object, latents.noise_defect).image
    else:
        w = object_rows(generator, latents, track=False)
        image = generator(w, latents.noise_object)
    lengths = path_lengths(image, w, noise[:count])
    new_mean = mean.lerp(lengths.mean(), decay)
    penalty = (lengths - new_mean).square().mean()
    return Outcome(
        penalty * weight,
        {"path_length_penalty": penalty.detach(), "path_length": lengths.detach().mean()},
        {"path_length_mean": new_mean.detach()},
    )
