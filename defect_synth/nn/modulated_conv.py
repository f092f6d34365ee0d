"""Convolution whose weights are scaled per sample by a style, with demodulation (Karras et al. 2020b, Sec. 2.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.nn.kept import kept
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """Factor that gives every output channel of a modulated convolution unit expected power (Eq. 3 of StyleGAN2).

    Args:
        weight: [O, I, kh, kw].
        style: [N, I].

    Returns:
        [N, O]: 1 / sqrt(sum over I, kh, kw of (weight * style)^2 + 1e-8), in float32.
    """
    power = _power(weight)
    return (style.float().square() @ power.t() + 1e-8).rsqrt()


def _power(weight: Tensor) -> Tensor:
    """Squared filters summed over places, [O, I]."""

    def compute() -> Tensor:
        return weight.float().square().sum(dim=(2, 3))

    return compute() if torch.is_grad_enabled() else kept(weight, "power", compute)


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """Convolve each sample with its own scaled weights.

    The definition is one grouped convolution with N * O filters (`modulated_conv2d_reference`). Scaling the input
    instead, convolving the whole batch with one dense filter and scaling the output is the same by linearity, and two
    to three times faster on a CPU.

    Args:
        x: [N, I, H, W]; computed in this dtype.
        weight: [O, I, k, k], k odd.
        style: [N, I], multiplies the input channels.
        demodulate: Scale output channels by `demodulation`.
        up: Double the resolution: transposed convolution, then the binomial filter.

    Returns:
        [N, O, H, W], or [N, O, 2H, 2W] with `up`.
    """
    y = convolve(x * style.to(x.dtype)[:, :, None, None], weight.to(x.dtype), up=up)
    if demodulate:
        y = y * demodulation(weight, style).to(x.dtype)[:, :, None, None]
    return y


def convolve(x: Tensor, weight: Tensor, *, up: bool = False, bias: Tensor | None = None) -> Tensor:
    """Dense convolution, padded to keep the size, or doubling it with `up`; x [N, I, H, W], weight [O, I, k, k]."""
    if not up:
        return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)
    y = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # [N, O, 2H + 1, 2W + 1]
    y = upfirdn2d(y, BINOMIAL, pad=(1, 1), gain=4.0)
    return y if bias is None else y + bias[:, None, None]


def modulated_conv2d_reference(
    x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False
) -> Tensor:
    """The definition of `modulated_conv2d`, one sample at a time; slow, for tests and benchmarks."""
    samples = []
    for image, scale in zip(x, style, strict=True):
        w = weight * scale[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        samples.append(convolve(image[None], w, up=up))
    return torch.cat(samples)
