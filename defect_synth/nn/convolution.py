"""3x3 convolutions as the networks use them: the layer with all that is pointwise, in one differentiable step.

    y = clamp(lrelu(conv(x * style, weight) * scale + bias + noise))

`conv_layer_reference` is the definition. On a CPU with the compiled kernels `conv_layer` is one pass over the data,
with Winograd's algorithm for the convolution, and remembers inputs and output only.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.nn import native
from defect_synth.nn.bias_act import SLOPE, bias_act
from defect_synth.nn.kept import keeps, kept
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d

Mode = Literal["same", "up", "down"]

_TILE = 4  # output pixels of Winograd's algorithm along each axis
_LEAST_TILES = 128  # below, transforming the filters costs more than it saves
_LEAST_TILES_GRADIENT = 64  # no filters are transformed for their gradient
_LEAST_TILES_KEPT = 16  # where transformed filters are kept from call to call
_CHANNELS = 16  # kernels work on multiples of this


def conv_layer(
    x: Tensor,
    weight: Tensor,
    *,
    mode: Mode = "same",
    style: Tensor | None = None,
    scale: Tensor | None = None,
    bias: Tensor | None = None,
    noise: Tensor | None = None,
    activate: bool = True,
    clamp: float = math.inf,
) -> Tensor:
    """clamp(leaky_relu(conv(x * style, weight) * scale + bias + noise, 0.2)); differentiable twice.

    Args:
        x: [N, I, H, W].
        weight: [O, I, 3, 3].
        mode: `same` keeps the size, `up` doubles it (transposed convolution, then the binomial filter), `down` halves
            it (binomial filter, then stride 2).
        style: [N, I], multiplies input channels.
        scale: [N, O], multiplies output channels.
        bias: [O].
        noise: [1 or N, 1, H', W'].
        activate: Apply the leaky ReLU and the clamp.
        clamp: Symmetric bound of the result.
    """
    if noise is not None:
        # The kernels walk the noise beside the output: a smaller one would be read past its end.
        side = {"same": 1.0, "up": 2.0, "down": 0.5}[mode]
        height, width = int(x.shape[2] * side), int(x.shape[3] * side)
        if noise.shape[1:] != (1, height, width) or noise.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"noise must be [1 or {len(x)}, 1, {height}, {width}], got {list(noise.shape)}")
    arguments = (x, weight, style, scale, bias, noise, mode, activate, clamp)
    if not fits(x, weight) or any(t is not None and t.dtype != x.dtype for t in (style, scale, bias, noise)):
        return conv_layer_reference(*arguments)
    if not torch.is_grad_enabled():
        return _layer(_channels_last(x), weight, style, scale, bias, noise, mode, activate, clamp)
    y: Tensor = _ConvLayer.apply(*arguments)  # type: ignore[no-untyped-call]
    return y


def conv_layer_reference(
    x: Tensor,
    weight: Tensor,
    style: Tensor | None,
    scale: Tensor | None,
    bias: Tensor | None,
    noise: Tensor | None,
    mode: Mode,
    activate: bool,
    clamp: float,
) -> Tensor:
    """The definition of `conv_layer`, and what other devices and number formats compute."""
    y = _before_activation(x, weight, style, scale, bias, noise, mode, _BY_TORCH)
    return bias_act(y, None, gain=1.0, clamp=clamp) if activate else y


def fits(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels can take a layer: CPU, float32 or float64, 3x3, channels in multiples of 16."""
    out_channels, in_channels, kernel, _ = weight.shape
    return kernel == 3 and not (out_channels | in_channels) % _CHANNELS and native.supports(x, weight)


def _before_activation(x: Tensor, weight: Tensor, style: Tensor | None, scale: Tensor | None, bias: Tensor | None,
                       noise: Tensor | None, mode: Mode, forms: dict[Mode, Any]) -> Tensor:  # fmt: skip
    if style is not None:
        x = x * style.to(x.dtype)[:, :, None, None]
    weight = weight.to(x.dtype)
    folded = None if bias is None or scale is not None or mode == "up" else bias.to(x.dtype)
    if mode == "down":
        x = upfirdn2d(x, BINOMIAL, pad=(2, 2))
    y: Tensor = forms[mode](x, weight, folded)
    if mode == "up":
        y = upfirdn2d(y, BINOMIAL, pad=(1, 1), gain=4.0)  # of [N, O, 2H + 1, 2W + 1]
    if scale is not None:
        scale = scale.to(y.dtype)[:, :, None, None]
        y = y * scale if bias is None else torch.addcmul(bias.to(y.dtype)[:, None, None], y, scale)
    elif bias is not None and folded is None:
        y = y + bias.to(y.dtype)[:, None, None]
    return y if noise is None else y + noise.to(y.dtype)


class _ConvLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, style: Tensor | None, scale: Tensor | None, bias: Tensor | None,
        noise: Tensor | None, mode: Mode, activate: bool, clamp: float,
    ) -> Tensor:  # fmt: skip
        y = _layer(_channels_last(x), weight, style, scale, bias, noise, mode, activate, clamp)
        ctx.save_for_backward(x, weight, style, scale, bias, noise, y)
        ctx.settings = (mode, activate, clamp)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        inputs, y = ctx.saved_tensors[:6], ctx.saved_tensors[6]
        needed = ctx.needs_input_grad[:6]
        if torch.is_grad_enabled():
            grads = _differentiable_backward(grad, inputs, y, needed, *ctx.settings)
        else:
            grads = _backward(_channels_last(grad), inputs, y, needed, *ctx.settings)
        return (*grads, None, None, None)


def _differentiable_backward(
    grad: Tensor, inputs: tuple[Tensor | None, ...], y: Tensor, needed: tuple[bool, ...], mode: Mode, activate: bool,
    clamp: float,
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of the linear map that the layer is on this side of its kinks, as a graph of their own."""
    # Other names for the inputs: `scale` is a function of `style`, and only the direct paths count here.
    named = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    x, weight, style, scale, bias, noise = named
    assert x is not None
    assert weight is not None
    before = _before_activation(x, weight, style, scale, bias, noise, mode, _BY_KERNELS)
    if activate:
        y = y.detach()
        slope = torch.where(y > 0, y.new_ones(()), y.new_tensor(SLOPE))
        before = before * (slope.masked_fill_(y.abs() >= clamp, 0) if math.isfinite(clamp) else slope)
    wanted = [tensor for tensor, need in zip(named, needed, strict=True) if need and tensor is not None]
    found = iter(torch.autograd.grad(before, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]


def _layer(x: Tensor, weight: Tensor, style: Tensor | None, scale: Tensor | None, bias: Tensor | None,
           noise: Tensor | None, mode: Mode, activate: bool, clamp: float) -> Tensor:  # fmt: skip
    """The value, by the kernels; x channels-last."""
    finish = (_flat(scale), _flat(bias), *_noise(noise), *_activation(activate, clamp))
    if mode == "same":
        filters = _filters_for(x, weight)
        if filters is not None:
            return _convolve(x, filters, weight.shape[0], style, finish)
    if style is not None:
        x = x * style[:, :, None, None]
    if mode == "up":
        y = F.conv_transpose2d(x, _transposed(weight), stride=2)
        return _resample_up(_channels_last(y), finish)
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
    return _channels_last(y)


def _backward(grad: Tensor, inputs: tuple[Tensor | None, ...], y: Tensor, needed: tuple[bool, ...], mode: Mode,
              activate: bool, clamp: float) -> list[Tensor | None]:  # fmt: skip
    x, weight, style, scale, bias, noise = inputs
    assert x is not None
    assert weight is not None
    x = _channels_last(x)
    n, channels, height, width = y.shape
    grads: list[Tensor | None] = [None] * 6
    if activate or needed[3] or needed[4] or needed[5]:
        # With respect to what the activation reads, and its sums for bias, scale and noise.
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
            grads[0] = _convolve_or_torch(grad, weight.flip(2, 3).transpose(0, 1), scale)
        if needed[1]:
            grads[1] = _filter_gradient_or_torch(False, x, style, grad, scale)
    else:
        if scale is not None:
            grad = grad * scale[:, :, None, None]
        if mode == "up":
            grad = _channels_last(upfirdn2d(grad, BINOMIAL, pad=(2, 2), gain=4.0))  # [N, O, 2H + 1, 2W + 1]
            if needed[0] or needed[2]:
                grads[0] = _channels_last(F.conv2d(grad, weight.transpose(0, 1), stride=2))
            if needed[1]:
                # The layer is the transpose of one that halves: input and gradient change places.
                grads[1] = _filter_gradient_or_torch(True, grad, None, x, style).transpose(0, 1)
        else:
            if needed[0] or needed[2]:
                wide = _channels_last(F.conv_transpose2d(grad, weight, stride=2))
                grads[0] = upfirdn2d(wide, BINOMIAL, pad=(1, 1))
            if needed[1]:
                filtered = _channels_last(upfirdn2d(x, BINOMIAL, pad=(2, 2)))
                grads[1] = _filter_gradient_or_torch(True, filtered, style, grad, None)
    if style is not None and grads[0] is not None:
        sums = x.new_empty(style.shape)
        n, channels, height, width = x.shape
        native.call("scale_and_dot", x, n, height * width, channels, grads[0], x, _flat(style), sums)
        grads[2] = sums if needed[2] else None
    return grads


class _ConvolveSame(torch.autograd.Function):
    """Plain convolution, for graphs of gradients: it and `_FilterGradient` are each other's derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve_or_torch(_channels_last(x), weight, None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        back = grads = None
        if ctx.needs_input_grad[0]:
            back = _ConvolveSame.apply(grad, weight.flip(2, 3).transpose(0, 1))  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            grads = _FilterGradient.apply(False, x, grad)  # type: ignore[no-untyped-call]
        return back, grads


class _ConvolveDown(torch.autograd.Function):
    """Every second place of a convolution without padding, [N, I, 2H + 1, 2W + 1] -> [N, O, H, W], for such graphs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _channels_last(F.conv2d(_channels_last(x), weight, stride=2))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        back = _ConvolveUp.apply(grad, weight) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        grads = _FilterGradient.apply(True, x, grad) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return back, grads


class _ConvolveUp(torch.autograd.Function):
    """The transpose of `_ConvolveDown`, with its filters [O, I, 3, 3]: [N, O, H, W] -> [N, I, 2H + 1, 2W + 1]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _channels_last(F.conv_transpose2d(_channels_last(x), weight, stride=2))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        back = _ConvolveDown.apply(grad, weight) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        grads = _FilterGradient.apply(True, grad, x) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return back, grads


class _FilterGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, down: bool, x: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(x, grad)
        ctx.down = down
        return _filter_gradient_or_torch(down, _channels_last(x), None, _channels_last(grad), None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (direction,) = grad_outputs
        x, grad = ctx.saved_tensors
        to_x = to_grad = None
        if ctx.needs_input_grad[1]:
            to_x = (
                _ConvolveUp.apply(grad, direction)  # type: ignore[no-untyped-call]
                if ctx.down
                else _ConvolveSame.apply(grad, direction.flip(2, 3).transpose(0, 1))  # type: ignore[no-untyped-call]
            )
        if ctx.needs_input_grad[2]:
            convolve = _ConvolveDown if ctx.down else _ConvolveSame
            to_grad = convolve.apply(x, direction)  # type: ignore[no-untyped-call]
        return None, to_x, to_grad


def _biased(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + bias[:, None, None]


# Convolution with filters [O, I, 3, 3] and bias, resampling left out, twice: with torch's derivatives and with ours.
_BY_TORCH: dict[Mode, Any] = {
    "same": lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1),
    "down": lambda x, weight, bias: F.conv2d(x, weight, bias, stride=2),
    "up": lambda x, weight, bias: F.conv_transpose2d(x, weight.transpose(0, 1), bias, stride=2),
}
_BY_KERNELS: dict[Mode, Any] = {
    "same": lambda x, weight, bias: _biased(_ConvolveSame.apply(x, weight), bias),  # type: ignore[no-untyped-call]
    "down": lambda x, weight, bias: _biased(_ConvolveDown.apply(x, weight), bias),  # type: ignore[no-untyped-call]
    "up": lambda x, weight, bias: _biased(_ConvolveUp.apply(x, weight.transpose(0, 1)), bias),  # type: ignore[no-untyped-call]
}


def _convolve_or_torch(x: Tensor, weight: Tensor, style: Tensor | None) -> Tensor:
    filters = _filters_for(x, weight)
    if filters is None:
        return _channels_last(F.conv2d(x if style is None else x * style[:, :, None, None], weight, padding=1))
    return _convolve(x, filters, weight.shape[0], style, (None, None, None, 0, 1.0, 0.0))


def _convolve(
    x: Tensor, filters: Tensor, out_channels: int, style: Tensor | None, finish: tuple[object, ...]
) -> Tensor:
    n, channels, height, width = x.shape
    y = torch.empty((n, out_channels, height, width), dtype=x.dtype, memory_format=torch.channels_last)
    native.call("convolve", x, n, x, height, width, channels, _flat(style), filters, y, height, width,
                out_channels, *finish, None, 0)  # fmt: skip
    return y


def _filter_gradient_or_torch(
    down: bool, x: Tensor, style: Tensor | None, grad: Tensor, scale: Tensor | None
) -> Tensor:
    """Gradient of the filters of conv(x * style, padding 1) or, with `down`, of conv(x * style, stride 2)."""
    if _tiles(grad, 2 if down else _TILE) >= _LEAST_TILES_GRADIENT:
        return _filter_gradient(down, x, style, grad, scale)
    x = x if style is None else x * style[:, :, None, None]
    grad = grad if scale is None else grad * scale[:, :, None, None]
    shape = grad.new_empty(grad.shape[1], x.shape[1], 3, 3)
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grad, x, shape, None, [1 + down] * 2, [1 - down] * 2, [1, 1], False, [0, 0], 1, [False, True, False]
    )[1]
    return gradient


def _filter_gradient(down: bool, x: Tensor, style: Tensor | None, grad: Tensor, scale: Tensor | None) -> Tensor:
    n, channels, height, width = x.shape
    gradient = x.new_empty(3, 3, channels, grad.shape[1])
    native.call("filter_gradient", x, down, n, x, height, width, channels, _flat(style), grad, grad.shape[2],
                grad.shape[3], grad.shape[1], _flat(scale), gradient)  # fmt: skip
    return gradient.permute(3, 2, 0, 1)


def _resample_up(y: Tensor, finish: tuple[object, ...]) -> Tensor:
    """The binomial filter of `up` with the rest of the layer; [N, C, 2H + 1, 2W + 1] -> [N, C, 2H, 2W]."""
    n, channels, height, width = y.shape
    out = torch.empty((n, channels, height - 1, width - 1), dtype=y.dtype, memory_format=torch.channels_last)
    taps = torch.tensor([2 * tap for tap in BINOMIAL], dtype=y.dtype)
    native.call("resample", y, n, height, width, channels, y, taps, len(BINOMIAL), 1, 1, 1, 1, out, height - 1,
                width - 1, True, *finish)  # fmt: skip
    return out


def _tiles(x: Tensor, side: int = _TILE) -> int:
    return x.shape[0] * -(-x.shape[2] // side) * -(-x.shape[3] // side)


def _filters_for(x: Tensor, weight: Tensor) -> Tensor | None:
    """Transformed filters, or None where the map is too small to repay them."""
    if _tiles(x) < (_LEAST_TILES_KEPT if keeps(weight) else _LEAST_TILES):
        return None

    def compute() -> Tensor:
        out_channels, in_channels = weight.shape[:2]
        filters = x.new_empty(36 * in_channels * out_channels)
        plain = weight.detach().permute(2, 3, 1, 0).contiguous()
        native.call("transform_filters", x, plain, in_channels, out_channels, filters)
        return filters

    return kept(weight, "filters", compute)


def _transposed(weight: Tensor) -> Tensor:
    """Filters as a transposed convolution reads them, [I, O, 3, 3]."""
    if not keeps(weight):
        return weight.transpose(0, 1)
    return kept(weight, "transposed", lambda: _channels_last(weight.detach().transpose(0, 1)))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _flat(values: Tensor | None) -> Tensor | None:
    return None if values is None else values.contiguous()


def _noise(noise: Tensor | None) -> tuple[Tensor | None, int]:
    if noise is None:
        return None, 0
    return noise.contiguous(), 0 if len(noise) == 1 else noise.shape[2] * noise.shape[3]


def _activation(activate: bool, clamp: float) -> tuple[float, float]:
    """As the kernels read it: slope 1 is none, clamp 0 is none."""
    return (SLOPE if activate else 1.0), (clamp if activate and math.isfinite(clamp) else 0.0)
