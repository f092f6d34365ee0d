"""Layers and their gradients by the compiled kernels; where a map is too small for a kernel, by torch."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.nn import native
from defect_synth.nn.bias_act import SLOPE
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d
from defect_synth.nn.weight_cache import cached, has_weight_cache

Mode = Literal["same", "up", "down"]

_TILE = 4  # side of an output tile of Winograd's algorithm, in pixels
_LEAST_TILES = 128  # with fewer tiles, transforming the filters takes longer than it saves
_LEAST_TILES_GRADIENT = 64  # the gradient of the filters needs no transformed filters
_LEAST_TILES_CACHED = 16  # where transformed filters are cached from call to call
_CHANNELS = 16  # the kernels work on multiples of this


def kernels_fit(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels can compute a layer: CPU, float32 or float64, 3x3, channels in multiples of 16."""
    out_channels, in_channels, kernel, _ = weight.shape
    return kernel == 3 and not (out_channels | in_channels) % _CHANNELS and native.supports(x, weight)


def layer(x: Tensor, weight: Tensor, style: Tensor | None, scale: Tensor | None, bias: Tensor | None,
           noise: Tensor | None, mode: Mode, activate: bool, clamp: float) -> Tensor:  # fmt: skip
    """The value of `conv_layer`; x is channels-last."""
    finish = (_flat(scale), _flat(bias), *_noise(noise), *_activation(activate, clamp))
    if mode == "same":
        filters = _filters_for(x, weight)
        if filters is not None:
            return _convolve_by_kernel(x, filters, weight.shape[0], style, finish)
    if style is not None:
        x = x * style[:, :, None, None]
    if mode == "up":
        y = F.conv_transpose2d(x, _transposed(weight), stride=2)
        return filter_and_finish(channels_last(y), finish)
    if mode == "same":
        y = F.conv2d(x, weight, bias if scale is None else None, padding=1)
    else:
        y = F.conv2d(upfirdn2d(x, BINOMIAL, pad=(2, 2)), weight, bias if scale is None else None, stride=2)
    if scale is not None:
        y = y.mul_(scale[:, :, None, None])
        y = y if bias is None else y.add_(bias[:, None, None])
    if noise is not None:
        y = y.add_(noise)
    if activate:
        y = F.leaky_relu_(y, SLOPE)
        y = y.clamp_(-clamp, clamp) if math.isfinite(clamp) else y
    return channels_last(y)


def layer_backward(grad: Tensor, inputs: tuple[Tensor | None, ...], y: Tensor, needed: tuple[bool, ...], mode: Mode,
              activate: bool, clamp: float) -> list[Tensor | None]:  # fmt: skip
    """Gradients of the inputs (x, weight, style, scale, bias, noise) of `layer`, None where none is needed.

    Args:
        grad: Gradient of y, channels-last.
        inputs: Of `layer`.
        y: Output of `layer`.
        needed: Which gradients to compute.
        mode: Of `layer`.
        activate: Of `layer`.
        clamp: Of `layer`.
    """
    x, weight, style, scale, bias, noise = inputs
    assert x is not None
    assert weight is not None
    x = channels_last(x)
    n, channels, height, width = y.shape
    grads: list[Tensor | None] = [None] * 6
    if activate or needed[3] or needed[4] or needed[5]:
        # Gradient of the input of the activation, and its sums for bias, scale and noise.
        inner = torch.empty_like(grad)
        bias_sum = grad.new_empty(n, channels)
        scale_sum = grad.new_empty(n, channels) if needed[3] else None
        noise_sum = grad.new_empty(n, 1, height, width) if needed[5] else None
        zeros = grad.new_zeros(channels) if bias is None else bias
        native.call("finish_gradient", grad, n, height * width, channels, grad, y, _flat(scale), _flat(zeros),
                    *_noise(noise), *_activation(activate, clamp), inner, bias_sum, scale_sum, noise_sum)  # fmt: skip
        grad = inner
        grads[3] = scale_sum
        grads[4] = bias_sum.sum(dim=0) if needed[4] else None
        if noise_sum is not None:
            assert noise is not None
            grads[5] = noise_sum if len(noise) == n else noise_sum.sum(dim=0, keepdim=True)
    if not (needed[0] or needed[1] or needed[2]):
        return grads
    if mode == "same":
        if needed[0] or needed[2]:
            grads[0] = convolve_same(grad, weight.flip(2, 3).transpose(0, 1), scale)
        if needed[1]:
            grads[1] = filter_gradient(False, x, style, grad, scale)
    else:
        if scale is not None:
            grad = grad * scale[:, :, None, None]
        if mode == "up":
            grad = channels_last(upfirdn2d(grad, BINOMIAL, pad=(2, 2), gain=4.0))  # [N, O, 2H + 1, 2W + 1]
            if needed[0] or needed[2]:
                grads[0] = channels_last(F.conv2d(grad, weight.transpose(0, 1), stride=2))
            if needed[1]:
                # The layer is the transpose of one that halves the size: input and gradient change places.
                grads[1] = filter_gradient(True, grad, None, x, style).transpose(0, 1)
        else:
            if needed[0] or needed[2]:
                wide = channels_last(F.conv_transpose2d(grad, weight, stride=2))
                grads[0] = upfirdn2d(wide, BINOMIAL, pad=(1, 1))
            if needed[1]:
                filtered = channels_last(upfirdn2d(x, BINOMIAL, pad=(2, 2)))
                grads[1] = filter_gradient(True, filtered, style, grad, None)
    if style is not None and grads[0] is not None:
        sums = x.new_empty(style.shape)
        n, channels, height, width = x.shape
        native.call("scale_and_dot", x, n, height * width, channels, grads[0], x, _flat(style), sums)
        grads[2] = sums if needed[2] else None
    return grads


def convolve_same(x: Tensor, weight: Tensor, style: Tensor | None) -> Tensor:
    """conv(x * style, weight) with padding 1; x [N, I, H, W] is channels-last, weight [O, I, 3, 3], style [N, I]."""
    filters = _filters_for(x, weight)
    if filters is None:
        return channels_last(F.conv2d(x if style is None else x * style[:, :, None, None], weight, padding=1))
    return _convolve_by_kernel(x, filters, weight.shape[0], style, (None, None, None, 0, 1.0, 0.0))


def _convolve_by_kernel(
    x: Tensor, filters: Tensor, out_channels: int, style: Tensor | None, finish: tuple[object, ...]
) -> Tensor:
    n, channels, height, width = x.shape
    y = torch.empty((n, out_channels, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    native.call("convolve", x, n, x, height, width, channels, _flat(style), filters, y, height, width,
                out_channels, *finish)  # fmt: skip
    return y


def filter_gradient(down: bool, x: Tensor, style: Tensor | None, grad: Tensor, scale: Tensor | None) -> Tensor:
    """Gradient of the filters of `convolve_same` times scale or, with `down`, of conv(x * style, stride 2) * scale."""
    if _tiles(grad, 2 if down else _TILE) >= _LEAST_TILES_GRADIENT:
        return _filter_gradient_by_kernel(down, x, style, grad, scale)
    x = x if style is None else x * style[:, :, None, None]
    grad = grad if scale is None else grad * scale[:, :, None, None]
    shape = grad.new_empty(grad.shape[1], x.shape[1], 3, 3)
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grad, x, shape, None, [1 + down] * 2, [1 - down] * 2, [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]
    return gradient


def _filter_gradient_by_kernel(
    down: bool, x: Tensor, style: Tensor | None, grad: Tensor, scale: Tensor | None
) -> Tensor:
    n, channels, height, width = x.shape
    gradient = x.new_empty(3, 3, channels, grad.shape[1])
    native.call("filter_gradient", x, down, n, x, height, width, channels, _flat(style), grad, grad.shape[2],
                grad.shape[3], grad.shape[1], _flat(scale), gradient)  # fmt: skip
    return gradient.permute(3, 2, 0, 1)


def filter_and_finish(y: Tensor, finish: tuple[object, ...]) -> Tensor:
    """The binomial filter of `up` and the rest of the layer: [N, C, 2H + 1, 2W + 1] -> [N, C, 2H, 2W]."""
    n, channels, height, width = y.shape
    out = torch.empty((n, channels, height - 1, width - 1), dtype=y.dtype, memory_format=torch.channels_last)
    taps = torch.tensor([2 * tap for tap in BINOMIAL], dtype=y.dtype)
    native.call("resample", y, n, height, width, channels, y, taps, len(BINOMIAL), 1, 1, 1, 1, out, height - 1,
                width - 1, True, *finish)  # fmt: skip
    return out


def _tiles(x: Tensor, side: int = _TILE) -> int:
    return x.shape[0] * -(-x.shape[2] // side) * -(-x.shape[3] // side)


def _filters_for(x: Tensor, weight: Tensor) -> Tensor | None:
    """Filters in Winograd's domain, or None where the map is too small to make up for the transformation."""
    if _tiles(x) < (_LEAST_TILES_CACHED if has_weight_cache(weight) else _LEAST_TILES):
        return None

    def compute() -> Tensor:
        out_channels, in_channels = weight.shape[:2]
        filters = x.new_empty(36 * in_channels * out_channels)
        plain = weight.detach().permute(2, 3, 1, 0).contiguous()
        native.call("transform_filters", x, plain, in_channels, out_channels, filters)
        return filters

    return cached(weight, "filters", compute)


def _transposed(weight: Tensor) -> Tensor:
    """Filters as a transposed convolution of torch reads them, [I, O, 3, 3]."""
    if not has_weight_cache(weight):
        return weight.transpose(0, 1)
    return cached(weight, "transposed", lambda: channels_last(weight.detach().transpose(0, 1)))


def channels_last(x: Tensor) -> Tensor:
    """The same values with channels innermost in memory, as the kernels read them."""
    return x.contiguous(memory_format=torch.channels_last)


def _flat(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.contiguous()


def _noise(noise: Tensor | None) -> tuple[Tensor | None, int]:
    if noise is None:
        return None, 0
    return noise.contiguous(), 0 if len(noise) == 1 else noise.shape[2] * noise.shape[3]


def _activation(activate: bool, clamp: float) -> tuple[float, float]:
    """Slope and clamp as the kernels read them: slope 1 means no activation, clamp 0 no clamp."""
    return (SLOPE if activate else 1.0), (clamp if activate and math.isfinite(clamp) else 0.0)
