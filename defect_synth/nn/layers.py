"""Layers that the networks share: equalised linear and convolution, style-modulated convolution, ToRGB and ToMask."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.nn.bias_act import ACTIVATION_GAIN, bias_act
from defect_synth.nn.convolution import conv_layer
from defect_synth.nn.demodulation import demodulation
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate: [N, in] -> [N, out].

    Weights are stored with unit variance and multiplied by `lr_multiplier / sqrt(in_features)` when they are used, so
    that Adam changes all weights at the same relative speed (Karras et al. 2018).
    """

    def __init__(self, in_features: int, out_features: int, *, lr_multiplier: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), bias))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        bias = self.bias if self.bias_gain == 1 else self.bias * self.bias_gain
        return F.linear(x, self.weight * self.weight_gain, bias)


class EqualConv(nn.Module):
    """Convolution of the discriminators: [N, I, H, W] -> [N, O, H, W], at half the size with `down`.

    With `activate` it is followed by bias, leaky ReLU, gain and clamp; `gain` multiplies activation and clamp.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        down: bool = False,
        activate: bool = True,
        gain: float = 1.0,
        clamp: float = math.inf,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(_filters(out_channels, in_channels, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if activate else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.down, self.activate, self.gain, self.clamp = down, activate, gain, clamp

    def forward(self, x: Tensor) -> Tensor:
        # A positive gain commutes with the leaky ReLU: applied to filter and bias it saves a pass over the features.
        gain = (ACTIVATION_GAIN if self.activate else 1.0) * self.gain
        kernel = self.weight.shape[2]
        weight = (self.weight * (self.weight_gain * gain)).to(x.dtype)
        bias = None if self.bias is None else (self.bias * gain).to(x.dtype)
        clamp = self.clamp * self.gain
        if kernel == 3:
            return conv_layer(
                x, weight, mode="down" if self.down else "same", bias=bias, activate=self.activate, clamp=clamp
            )
        if self.down:
            x = upfirdn2d(x, BINOMIAL, down=2, pad=(1, 1))
        y = F.conv2d(x, weight, bias, padding=kernel // 2)
        return bias_act(y, None, gain=1.0, clamp=clamp) if self.activate else y


class StyleConv(nn.Module):
    """Style-modulated 3x3 convolution with noise, a layer of a synthesis or residual block.

    y = clamp(sqrt(2) * leaky_relu(modconv(x, weight, style) + noise * noise_strength + bias)), style = affine(w).
    """

    noise_const: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, w_dim: int, resolution: int, up: bool, clamp: float
    ) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias=1.0)
        # No equalised gain, because demodulation makes the scale of the weights irrelevant.
        self.weight = nn.Parameter(_filters(out_channels, in_channels, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.resolution, self.up, self.clamp = resolution, up, clamp

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """X [N, I, H, W]; w [N, w_dim]; noise [N, 1, r, r], or None for the stored constant one. -> [N, O, r, r]."""
        style = self.affine(w)
        weight: Tensor = self.weight
        if x.dtype == torch.float16:
            # Keeps float16 sums finite. Both factors cancel in the demodulation (Karras et al. 2020a, appendix).
            weight = weight / weight.abs().amax(dim=(1, 2, 3), keepdim=True)
            style = style / style.abs().amax(dim=1, keepdim=True)
        scale = demodulation(weight, style)
        # A positive gain commutes with the leaky ReLU: applied to the small factors it saves a pass over y.
        gain = ACTIVATION_GAIN
        noise = self.noise_const[None, None] if noise is None else noise
        return conv_layer(
            x,
            weight.to(x.dtype),
            mode="up" if self.up else "same",
            style=style.to(x.dtype),
            scale=(scale * gain).to(x.dtype),
            bias=(self.bias * gain).to(x.dtype),
            noise=(noise * (self.noise_strength * gain)).to(x.dtype),
            clamp=self.clamp,
        )


class Projection(nn.Module):
    """Style-modulated 1x1 convolution without demodulation or activation: ToRGB and ToMask.

    [N, I, H, W], w [N, w_dim] -> [N, out_channels, H, W].
    """

    def __init__(self, in_channels: int, out_channels: int, *, w_dim: int, clamp: float) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(_filters(out_channels, in_channels, 1))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.style_gain = 1 / math.sqrt(in_channels)
        self.clamp = clamp

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w) * self.style_gain
        # For one sample, scaling the few filters is cheaper than scaling x.
        if x.shape[0] == 1:
            y = F.conv2d(x, (self.weight * style[:, :, None, None]).to(x.dtype))
        else:
            y = F.conv2d(x * style.to(x.dtype)[:, :, None, None], self.weight.to(x.dtype))
        y = y + self.bias.to(x.dtype)[:, None, None]
        return y.clamp(-self.clamp, self.clamp)


def _filters(out_channels: int, in_channels: int, kernel: int) -> Tensor:
    """Standard normal filters in the memory layout in which CPU convolutions are fastest."""
    weight = torch.randn(out_channels, in_channels, kernel, kernel)
    return weight.contiguous(memory_format=torch.channels_last)
