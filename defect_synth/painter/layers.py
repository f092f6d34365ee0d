"""The painter's convolutions: the fast ones of `nn.convolution`, and plain PyTorch for the ONNX exporter."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.nn.convolution import conv_layer
from defect_synth.nn.layers import EqualLinear
from defect_synth.nn.weight_cache import cached

_SLOPE = 0.2
_GAIN = math.sqrt(2)


class Conv(nn.Module):
    """3x3 convolution with equalised learning rate and leaky ReLU: [N, a, H, W] -> [N, b, H / stride, W / stride].

    There is no low-pass filter before a stride of 2: it would take longer than the convolution.
    """

    def __init__(self, a: int, b: int, *, stride: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a, 3, 3))
        self.bias = nn.Parameter(torch.zeros(b))
        self.gain, self.stride = _GAIN / math.sqrt(9 * a), stride

    def forward(self, x: Tensor) -> Tensor:
        bias = cached(self.weight, "bias", lambda: self.bias * _GAIN)
        if self.stride == 1 and not torch.onnx.is_in_onnx_export():
            scale = x.new_full((len(x), len(self.weight)), self.gain)
            return conv_layer(x, self.weight, scale=scale, bias=bias)
        weight = cached(self.weight, "scaled", lambda: self.weight * self.gain)
        y = F.conv2d(x, weight, bias, stride=self.stride, padding=1)
        return F.leaky_relu(y, _SLOPE, inplace=not torch.is_grad_enabled())


class Mix(nn.Module):
    """1x1 convolution as a matrix product over channels-last memory, which is faster for a single view."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(b, a))
        self.bias = nn.Parameter(torch.zeros(b))
        self.gain = a**-0.5

    def forward(self, x: Tensor) -> Tensor:
        weight = cached(self.weight, "scaled", lambda: (self.weight * self.gain).t())
        # Not `linear`: with so few channels, a product that starts from the bias takes three times as long on a CPU.
        return (x.permute(0, 2, 3, 1) @ weight).add_(self.bias).permute(0, 3, 1, 2)


class StyledConv(nn.Module):
    """3x3 convolution modulated by a style and demodulated (Karras et al. 2020b), without noise."""

    def __init__(self, a: int, b: int, *, w_dim: int) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, a, bias=1.0)
        self.weight = nn.Parameter(torch.randn(b, a, 3, 3))
        self.bias = nn.Parameter(torch.zeros(b))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features [N, b, H, W] of x [N, a, H, W] and style w [N, w_dim]."""
        style = self.affine(w)
        power = cached(self.weight, "power", lambda: self.weight.square().sum(dim=(2, 3)))  # [b, a]
        bias = cached(self.weight, "bias", lambda: self.bias * _GAIN)
        scale = (style.square() @ power.t() + 1e-8).rsqrt() * _GAIN
        if not torch.onnx.is_in_onnx_export():
            return conv_layer(x, self.weight, style=style, scale=scale, bias=bias)
        y = F.conv2d(x * style[:, :, None, None], self.weight, padding=1)
        y = torch.addcmul(bias[:, None, None], y, scale[:, :, None, None])
        return F.leaky_relu(y, _SLOPE)


def double(x: Tensor) -> Tensor:
    """Upsample to twice the size, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
