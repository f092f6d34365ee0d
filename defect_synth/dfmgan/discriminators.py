"""D tells real images from generated ones; D_match does so with pairs of image and mask (Sec. 3.2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from defect_synth.dfmgan.config import DiscriminatorConfig, ModelConfig
from defect_synth.nn.bias_act import bias_act
from defect_synth.nn.layers import EqualConv, EqualLinear


class DiscriminatorBlock(nn.Module):
    """Residual block that halves the resolution: [N, C, r, r] -> [N, C', r/2, r/2]."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float) -> None:
        super().__init__()
        half = math.sqrt(0.5)  # keeps the variance of the sum of two branches
        self.conv = EqualConv(in_channels, in_channels, 3, clamp=clamp)
        self.down = EqualConv(in_channels, out_channels, 3, down=True, gain=half, clamp=clamp)
        self.skip = EqualConv(in_channels, out_channels, 1, down=True, activate=False, gain=half)
        self.compute_dtype = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.compute_dtype)
        out: Tensor = self.skip(x) + self.down(self.conv(x))
        return out


class Epilogue(nn.Module):
    """Minibatch standard deviation, one convolution and two linear layers, always in float32: -> logits [N, 1]."""

    def __init__(self, channels: int, group: int, clamp: float) -> None:
        super().__init__()
        self.conv = EqualConv(channels + 1, channels, 3, clamp=clamp)
        self.fc = EqualLinear(channels * 16, channels)
        self.out = EqualLinear(channels, 1)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.cat([x.float(), minibatch_std(x.float(), self.group)], dim=1))
        out: Tensor = self.out(bias_act(self.fc(x.flatten(1)), None))
        return out


class Discriminator(nn.Module):
    """StyleGAN2 residual discriminator: [N, in_channels, R, R], about [-1, 1] -> logits [N, 1], high where real."""

    def __init__(self, config: DiscriminatorConfig, *, resolution: int, in_channels: int, clamp: float) -> None:
        super().__init__()

        def channels(r: int) -> int:
            return min(config.channel_base // r, config.channel_max)

        self.resolution, self.in_channels = resolution, in_channels
        self.from_rgb = EqualConv(in_channels, channels(resolution), 1, clamp=clamp)
        sides = [resolution >> i for i in range(resolution.bit_length() - 3)]  # R, ..., 8
        self.blocks = nn.ModuleDict({str(r): DiscriminatorBlock(channels(r), channels(r // 2), clamp) for r in sides})
        self.epilogue = Epilogue(channels(4), config.minibatch_std_group, clamp)

    def forward(self, image: Tensor) -> Tensor:
        first = next(iter(self.blocks.values()))
        assert isinstance(first, DiscriminatorBlock)
        x = image.to(first.compute_dtype).contiguous(memory_format=torch.channels_last)
        x = self.from_rgb(x)
        for block in self.blocks.values():
            x = block(x)
        out: Tensor = self.epilogue(x)
        return out


def build_discriminator(config: ModelConfig) -> Discriminator:
    """D, for images [N, 3, R, R]."""
    return Discriminator(
        config.discriminator,
        resolution=config.backbone.resolution,
        in_channels=config.backbone.image_channels,
        clamp=config.backbone.conv_clamp,
    )


def build_match_discriminator(config: ModelConfig) -> Discriminator:
    """D_match: the same network with fewer channels, for image and mask concatenated: [N, 4, R, R]."""
    return Discriminator(
        config.match_discriminator,
        resolution=config.backbone.resolution,
        in_channels=config.backbone.image_channels + 1,
        clamp=config.backbone.conv_clamp,
    )


def minibatch_std(x: Tensor, group: int) -> Tensor:
    """One channel with the mean standard deviation inside each group (Karras et al. 2018).

    Sample n belongs to group n mod (N / group). [N, C, H, W] -> [N, 1, H, W]; N must be a multiple of min(group, N).
    """
    n, c, h, w = x.shape
    group = min(group, n)
    if n % group:
        raise ValueError(f"batch of {n} is not a multiple of the minibatch standard deviation group {group}")
    y = x.reshape(group, -1, c, h, w)
    y = (y - y.mean(dim=0)).square().mean(dim=0)
    y = (y + 1e-8).sqrt().mean(dim=(1, 2, 3))  # one number per group
    return y.reshape(-1, 1, 1, 1).repeat(group, 1, h, w)
