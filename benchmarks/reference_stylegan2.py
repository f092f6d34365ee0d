"""The same networks written the obvious way: what the fast operations are checked against and timed against.

Plain float32 NCHW: one grouped convolution with N * O filters per modulated layer, resampling by literal zero
insertion, padding and a depthwise 4x4 convolution, every activation a chain of fresh tensors, ordinary autograd. The
clean image of a pair and the mode seeking pass are complete second syntheses.

`reference_of(network)` turns any of our networks into its reference; parameter names and values stay.
"""

from __future__ import annotations

import copy
import math
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.dfmgan import ada, objectives
from defect_synth.dfmgan.backbone import Backbone, MappingNetwork, SynthesisBlock, Trunk, split_noise
from defect_synth.dfmgan.config import TransferConfig
from defect_synth.dfmgan.discriminators import Discriminator, Epilogue, minibatch_std
from defect_synth.dfmgan.generator import DFMGAN, Synthesis
from defect_synth.dfmgan.latents import Latents
from defect_synth.dfmgan.losses import generator_loss, mode_seeking_loss, soft_mask
from defect_synth.nn.layers import EqualConv, Projection, StyleConv

FIR = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def upfirdn(x: Tensor, *, up: int = 1, down: int = 1, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Zero insertion, padding, depthwise convolution with [1, 3, 3, 1] x [1, 3, 3, 1], every `down`-th pixel."""
    n, c, h, w = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    x = F.pad(x, (*pad, *pad))
    x = F.conv2d(x, (FIR * gain).to(x).repeat(c, 1, 1, 1), groups=c)
    return x[:, :, ::down, ::down]


def upsample(image: Tensor) -> Tensor:
    """Twice the resolution."""
    return upfirdn(image, up=2, pad=(2, 1), gain=4)


def activate(x: Tensor, bias: Tensor, gain: float = 1.0, clamp: float = math.inf) -> Tensor:
    """Bias -> leaky ReLU -> gain -> clamp."""
    x = x + bias.reshape([1, -1] + [1] * (x.ndim - 2))
    return (F.leaky_relu(x, 0.2) * (math.sqrt(2) * gain)).clamp(-clamp * gain, clamp * gain)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool = False) -> Tensor:
    """One filter bank per sample, all in one grouped convolution."""
    n, i, h, w = x.shape
    o, _, k, _ = weight.shape
    weights = weight[None] * style[:, None, :, None, None]  # [N, O, I, k, k]
    if demodulate:
        weights = weights * (weights.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, n * i, h, w)
    if up:
        weights = weights.transpose(1, 2).reshape(n * i, o, k, k)
        x = F.conv_transpose2d(x, weights, stride=2, groups=n)
        x = upfirdn(x, pad=(1, 1), gain=4)
    else:
        x = F.conv2d(x, weights.reshape(n * o, i, k, k), padding=k // 2, groups=n)
    return x.reshape(n, o, *x.shape[2:])


class ReferenceStyleConv(StyleConv):
    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        x = modulated_conv(x, self.weight, self.affine(w), demodulate=True, up=self.up)
        x = x + (self.noise_const if noise is None else noise) * self.noise_strength
        return activate(x, self.bias, clamp=self.clamp)


class ReferenceProjection(Projection):
    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = modulated_conv(x, self.weight, self.affine(w) * self.style_gain, demodulate=False)
        return (x + self.bias[:, None, None]).clamp(-self.clamp, self.clamp)


class ReferenceEqualConv(EqualConv):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.weight_gain
        kernel = weight.shape[2]
        if not self.down:
            x = F.conv2d(x, weight, padding=kernel // 2)
        elif kernel == 1:
            x = F.conv2d(upfirdn(x, down=2, pad=(1, 1)), weight)
        else:
            x = F.conv2d(upfirdn(x, pad=(2, 2)), weight, stride=2)
        return activate(x, self.bias, self.gain, self.clamp) if self.activate else x * self.gain


class ReferenceMapping(MappingNetwork):
    def forward(self, z: Tensor) -> Tensor:
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2) * math.sqrt(2)
        return x


class ReferenceBlock(SynthesisBlock):
    def features(self, x: Tensor | None, ws: Any, noise: Any) -> Tensor:
        if x is None:
            x = self.const.repeat(len(ws[0]), 1, 1, 1)
        else:
            x = self.up(x, ws[0], noise[0])
        out: Tensor = self.conv(x, ws[-1], noise[-1])
        return out

    def accumulate(self, features: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        colour: Tensor = self.to_rgb(features, w)
        return colour if rgb is None else upsample(rgb) + colour


class ReferenceDFMGAN(DFMGAN):
    def paint(
        self,
        trunk: Trunk,
        w_object: Tensor,
        w_defect: Tensor | None,
        noise_object: Tensor | None = None,
        noise_defect: Tensor | None = None,
        *,
        min_component: float = 0.0,
    ) -> Synthesis:
        assert min_component == 0
        maps = split_noise(noise_object, self.backbone.noise_resolutions)
        defect_maps = split_noise(noise_defect, self.residual.noise_resolutions)
        x, rgb = trunk
        logits: Tensor | None = None
        for r in self.residual.resolutions:
            block = self.backbone.synthesis.block(r)
            ws, noise, w_rgb = self.backbone.block_inputs(r, w_object, maps)
            y = block.features(x, ws, noise)
            if w_defect is not None:
                defect = self.residual.features(r, x, w_defect, defect_maps)
                logits = self.residual.mask_logits(defect, w_defect) if logits is None else upsample(logits)
                y = y + defect * (logits >= self.threshold)
            x = y
            rgb = block.accumulate(x, rgb, w_rgb)
        return Synthesis(rgb, torch.full_like(rgb[:, :1], -1) if logits is None else logits)


class ReferenceEpilogue(Epilogue):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.cat([x, minibatch_std(x, self.group)], dim=1))
        out: Tensor = self.out(F.leaky_relu(self.fc(x.flatten(1)), 0.2) * math.sqrt(2))
        return out


class ReferenceDiscriminator(Discriminator):
    def forward(self, image: Tensor) -> Tensor:
        x = self.from_rgb(image)
        for block in self.blocks.values():
            x = block(x)
        out: Tensor = self.epilogue(x)
        return out


_REFERENCES: dict[type[nn.Module], type[nn.Module]] = {
    reference.__mro__[1]: reference
    for reference in (
        ReferenceStyleConv, ReferenceProjection, ReferenceEqualConv, ReferenceMapping, ReferenceBlock, ReferenceDFMGAN,
        ReferenceEpilogue, ReferenceDiscriminator,
    )
}  # fmt: skip

_Network = TypeVar("_Network", bound=nn.Module)


def reference_of(network: _Network) -> _Network:
    """A copy of `network` with the same parameters that computes the obvious way."""
    network = copy.deepcopy(network)
    for module in network.modules():
        module.__class__ = _REFERENCES.get(type(module), type(module))
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    return network


def transfer_generator(
    generator: DFMGAN,
    discriminator: Discriminator,
    match_discriminator: Discriminator,
    latents: Latents,
    config: TransferConfig,
    augment: objectives.Augment = lambda image: image,
    augment_pair: objectives.PairAugment = lambda image, mask: (image, mask),
) -> Tensor:
    """Loss of Eq. 3 for the generator; the mode seeking pass is a second synthesis from z on."""
    w_object = objectives.object_rows(generator.backbone, latents, track=False)
    w_defect = objectives.defect_rows(generator, latents, track=True)
    image, logits = generator(w_object, w_defect, latents.noise_object, latents.noise_defect)
    mask = soft_mask(logits, config.tanh_gain)
    loss = generator_loss(discriminator(augment(image)))
    loss = loss + config.lambda_match * generator_loss(match_discriminator(torch.cat(augment_pair(image, mask), dim=1)))
    half = len(latents) // 2
    first = latents.part(0, half)
    second = generator(w_object[:half], w_defect[half:], first.noise_object, first.noise_defect)
    loss = loss + config.lambda_mode_seeking * mode_seeking_loss(
        w_defect[:half],
        w_defect[half:],
        mask[:half],
        soft_mask(second.mask_logits, config.tanh_gain),
        config.protocol.mode_seeking_epsilon,
    )
    return loss + objectives.saturation_guard(logits, config.tanh_gain)


def synthesize(generator: DFMGAN, z_object: Tensor, z_defect: Tensor, *, clean: bool) -> tuple[Tensor, ...]:
    """Image and mask logits of a batch, and with `clean` the same objects without the defect."""
    with torch.no_grad():
        w_object = generator.backbone.rows(z_object)
        image, logits = generator(w_object, generator.defect_rows(z_defect))
        return (image, logits, generator(w_object, None).image) if clean else (image, logits)


def low_pass(x: Tensor, taps: tuple[float, ...], *, up: int = 1, down: int = 1, pad: int) -> Tensor:
    """`upfirdn` with ADA's long filter, one axis after the other; `pad` before, one less after, negative crops."""
    n, c, h, w = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, c, h, 1, w, 1), (0, up - 1, 0, 0, 0, up - 1)).reshape(n, c, h * up, w * up)
    x = F.pad(x, (pad, pad - (up - 1), pad, pad - (up - 1)))
    line = (torch.tensor(taps).flip(0) * up).to(x)
    x = F.conv2d(x, line.reshape(1, 1, 1, -1).repeat(c, 1, 1, 1), groups=c)
    return F.conv2d(x, line.reshape(1, 1, -1, 1).repeat(c, 1, 1, 1), groups=c)[:, :, ::down, ::down]


def augment_geometry(images: Tensor, inverse: Tensor) -> Tensor:
    """ADA's geometry on every image of the batch, drawn or not: pad, double, sample, halve."""
    height, width = images.shape[2:]
    reach = ada._REACH
    left, right, top, bottom = ada._margins(inverse, width, height)
    padded = F.pad(images, (left, right, top, bottom), mode="reflect")
    doubled = low_pass(padded, ada.LOW_PASS, up=2, pad=reach)
    x, y = ((torch.arange(2 * (size + 2 * reach)) + 0.5) / 2 - reach - size / 2 for size in (width, height))
    target = torch.stack([x[None, :].expand(len(y), -1), y[:, None].expand(-1, len(x)), torch.ones(len(y), len(x))], -1)
    centre = torch.tensor([ada._FILTER_SHIFT, ada._FILTER_SHIFT, 0.0])
    source = torch.einsum("nij,hwj->nhwi", inverse[:, :2], target + centre) - centre[:2]
    offset = torch.tensor([width / 2 + left, height / 2 + top])
    extent = torch.tensor([width + left + right, height + top + bottom])
    grid = ((source + offset) * (2 / extent) - 1).to(images)
    sampled = F.grid_sample(doubled, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return low_pass(sampled, ada.LOW_PASS[::-1], down=2, pad=(reach - 1) - 2 * reach)


def augment(images: Tensor, augmentation: ada.Augmentation) -> Tensor:
    """ADA on every image: geometry, then colour."""
    return ada.apply_color(augment_geometry(images, augmentation.inverse), augmentation.color)


def augment_pair(images: Tensor, masks: Tensor, augmentation: ada.Augmentation) -> tuple[Tensor, Tensor]:
    """The geometric part on image and mask together."""
    both = augment_geometry(torch.cat([images, masks], dim=1), augmentation.inverse)
    return both[:, :-1], both[:, -1:].clamp(-1, 1)


__all__ = ["Backbone", "reference_of", "synthesize", "transfer_generator", "upfirdn"]
