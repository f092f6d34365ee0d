"""Upsample, pad, filter, downsample: the resampling of StyleGAN2, differentiable any number of times."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.nn import native

Taps = tuple[float, ...]
Padding = tuple[int, int, int, int]  # rows before, rows after, columns before, columns after

BINOMIAL: Taps = (1 / 8, 3 / 8, 3 / 8, 1 / 8)
"""The [1, 3, 3, 1] low-pass of StyleGAN2 (Karras et al. 2020b), summing to 1."""


def upfirdn2d(
    x: Tensor, taps: Taps, *, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0), gain: float = 1.0
) -> Tensor:
    """Insert `up - 1` zeros after each pixel, pad, convolve with `taps` along both axes, keep every `down`-th pixel.

    Args:
        x: [N, C, H, W] of any float dtype; the result has the same memory format.
        taps: One-dimensional filter for rows and columns. It is flipped, as in a convolution.
        up: Upsampling factor.
        down: Downsampling factor.
        pad: Zeros before and after, along both axes, counted after the insertion of zeros; negative numbers crop.
        gain: Multiplies the result.

    Returns:
        [N, C, (H * up + sum(pad) - len(taps)) // down + 1, likewise for W].
    """
    out: Tensor = _Upfirdn2d.apply(x, taps, up, down, (*pad, *pad), gain)  # type: ignore[no-untyped-call]
    return out


def upsample2d(x: Tensor) -> Tensor:
    """Double the resolution with `BINOMIAL`, with zeros outside the border: [N, C, H, W] -> [N, C, 2H, 2W]."""
    return upfirdn2d(x, BINOMIAL, up=2, pad=(2, 1), gain=4.0)


class _Upfirdn2d(torch.autograd.Function):
    """The transpose of a resampling is a resampling, so every derivative is this function again.

    Torch's own second derivative of a depthwise convolution makes one call for each channel, which made R1 more than
    ten times as slow.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Taps, up: int, down: int, pad: Padding, gain: float) -> Tensor:
        ctx.arguments = (taps, up, down, pad, gain, x.shape)
        return _resample(x, taps, up, down, pad, gain)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        taps, up, down, pad, gain, shape = ctx.arguments
        transposed = _Upfirdn2d.apply(  # type: ignore[no-untyped-call]
            grad, taps[::-1], down, up, _transposed_padding(shape, grad.shape, len(taps), up, down, pad), gain
        )
        return transposed, None, None, None, None, None


def _transposed_padding(
    shape: torch.Size, out_shape: torch.Size, num_taps: int, up: int, down: int, pad: Padding
) -> Padding:
    """Padding with which the transpose of a resampling has exactly the given shape."""
    sides = []
    for size, out_size, before in ((shape[2], out_shape[2], pad[0]), (shape[3], out_shape[3], pad[2])):
        sides += [num_taps - 1 - before, size * up - out_size * down + before - up + 1]
    return sides[0], sides[1], sides[2], sides[3]


def _resample(x: Tensor, taps: Taps, up: int, down: int, pad: Padding, gain: float) -> Tensor:
    if max(up, down) <= 2 and native.supports(x) and x.numel():
        return _resample_native(x, taps, up, down, pad, gain)
    if up == 2 and down == 1 and taps == BINOMIAL and max(pad) <= _BILINEAR_REACH and x.dtype != torch.float16:
        return _double(x, pad, gain)
    channels = x.shape[1]
    top, bottom, left, right = pad
    crop = [min(side, 0) for side in pad]
    top, bottom, left, right = (max(side, 0) for side in pad)
    layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
    kernel = _kernel(taps, gain, channels, x.dtype, x.device)
    if up == 1 and top == bottom and left == right and not any(crop):
        return F.conv2d(x, kernel, stride=down, padding=(top, left), groups=channels)
    height, width = x.shape[2] * up, x.shape[3] * up
    spread = torch.zeros(
        (x.shape[0], channels, height + top + bottom, width + left + right), dtype=x.dtype, device=x.device
    ).contiguous(memory_format=layout)
    spread[:, :, top : top + height : up, left : left + width : up] = x
    spread = spread[:, :, -crop[0] : spread.shape[2] + crop[1], -crop[2] : spread.shape[3] + crop[3]]
    return F.conv2d(spread.contiguous(memory_format=layout), kernel, stride=down, groups=channels)


def _resample_native(x: Tensor, taps: Taps, up: int, down: int, pad: Padding, gain: float) -> Tensor:
    """`_resample` by the compiled kernel, which filters one axis after the other and skips the inserted zeros."""
    n, channels, height, width = x.shape
    out_height = (height * up + pad[0] + pad[1] - len(taps)) // down + 1
    out_width = (width * up + pad[2] + pad[3] - len(taps)) // down + 1
    last = _is_channels_last(x)
    interleaved = last and channels >= _INTERLEAVED
    layout = torch.channels_last if interleaved else torch.contiguous_format
    x = x.contiguous(memory_format=layout)
    y = torch.empty((n, channels, out_height, out_width), dtype=x.dtype, memory_format=layout)
    planes, depth = (n, channels) if interleaved else (n * channels, 1)
    native.call("resample", x, planes, height, width, depth, x, _line(taps, gain, x.dtype), len(taps), up, down,
                pad[0], pad[2], y, out_height, out_width, False, None, None, None, 0, 1.0, 0.0)  # fmt: skip
    return y.contiguous(memory_format=torch.channels_last) if last else y


_INTERLEAVED = 8  # from this many channels on, a vector register holds channels and not columns
_BILINEAR_REACH = 3  # up to this padding one border pixel of zeros is enough for `_double`


def _double(x: Tensor, pad: Padding, gain: float) -> Tensor:
    """`_resample` for `BINOMIAL` and up=2, without inserting zeros.

    Along each axis every output pixel has two taps, 1/8 and 3/8, which is half of bilinear interpolation of the image
    with a border of zeros. The interpolated image begins where a padding of 2 would, at one doubled border pixel.
    """
    top, bottom, left, right = pad
    layout = torch.channels_last if _is_channels_last(x) else torch.contiguous_format
    x = F.pad(x, (1, 1, 1, 1)).contiguous(memory_format=layout)
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    x = x[:, :, 4 - top : x.shape[2] - 3 + bottom, 4 - left : x.shape[3] - 3 + right]
    return x.contiguous(memory_format=layout) if gain == 4 else x * (gain / 4)


def _is_channels_last(x: Tensor) -> bool:
    return x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=64)
def _line(taps: Taps, gain: float, dtype: torch.dtype) -> Tensor:
    """The flipped filter of one axis, with the square root of the gain."""
    return (torch.tensor(taps[::-1], dtype=torch.float64) * math.sqrt(gain)).to(dtype)


@lru_cache(maxsize=64)
def _kernel(taps: Taps, gain: float, channels: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Depthwise kernel [C, 1, K, K], flipped because conv2d computes a correlation."""
    line = torch.tensor(taps[::-1], dtype=torch.float64)
    plane = torch.outer(line, line) * gain
    return plane.to(device=device, dtype=dtype).repeat(channels, 1, 1, 1).contiguous(memory_format=torch.channels_last)
