"""3x3 convolutions as the networks use them: a layer with its pointwise operations in one differentiable step.

    y = clamp(lrelu(conv(x * style, weight) * scale + bias + noise))

`conv_layer_reference` is the definition. On a CPU with the compiled kernels, `conv_layer` is one pass over the data,
with Winograd's algorithm for the convolution, and stores only its inputs and its output for the backward pass.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from defect_synth.nn.bias_act import SLOPE, bias_act
from defect_synth.nn.convolution_gradients import BY_KERNELS, BY_TORCH
from defect_synth.nn.convolution_kernels import Mode, channels_last, kernels_fit, layer, layer_backward
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d


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
        mode: `same` keeps the size, `up` doubles it (transposed convolution, then the binomial filter), and `down`
            halves it (binomial filter, then stride 2).
        style: [N, I], multiplies input channels.
        scale: [N, O], multiplies output channels.
        bias: [O].
        noise: [1 or N, 1, H', W'] at the size of the result.
        activate: Apply the leaky ReLU and the clamp.
        clamp: Symmetric bound of the result.

    Returns:
        [N, O, H', W'].

    Raises:
        ValueError: The noise has another shape.
    """
    if noise is not None:
        # The kernels index the noise like the output, so they would read past the end of a smaller one.
        side = {"same": 1.0, "up": 2.0, "down": 0.5}[mode]
        height, width = int(x.shape[2] * side), int(x.shape[3] * side)
        if noise.shape[1:] != (1, height, width) or noise.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"noise must be [1 or {len(x)}, 1, {height}, {width}], got {list(noise.shape)}")
    arguments = (x, weight, style, scale, bias, noise, mode, activate, clamp)
    if not kernels_fit(x, weight) or any(t is not None and t.dtype != x.dtype for t in (style, scale, bias, noise)):
        return conv_layer_reference(*arguments)
    if not torch.is_grad_enabled():
        return layer(channels_last(x), weight, style, scale, bias, noise, mode, activate, clamp)
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
    """The definition of `conv_layer`, which is also used on other devices and for other dtypes."""
    y = _before_activation(x, weight, style, scale, bias, noise, mode, BY_TORCH)
    return bias_act(y, None, gain=1.0, clamp=clamp) if activate else y


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
        y = layer(channels_last(x), weight, style, scale, bias, noise, mode, activate, clamp)
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
            grads = layer_backward(channels_last(grad), inputs, y, needed, *ctx.settings)
        return (*grads, None, None, None)


def _differentiable_backward(
    grad: Tensor, inputs: tuple[Tensor | None, ...], y: Tensor, needed: tuple[bool, ...], mode: Mode, activate: bool,
    clamp: float,
) -> list[Tensor | None]:  # fmt: skip
    """Gradients as a graph of their own: between the kinks of the activation the layer is a linear map."""
    # Views are nodes of their own: `scale` depends on `style`, but only the direct paths count here.
    named = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    x, weight, style, scale, bias, noise = named
    assert x is not None
    assert weight is not None
    before = _before_activation(x, weight, style, scale, bias, noise, mode, BY_KERNELS)
    if activate:
        y = y.detach()
        slope = torch.where(y > 0, y.new_ones(()), y.new_tensor(SLOPE))
        before = before * (slope.masked_fill_(y.abs() >= clamp, 0) if math.isfinite(clamp) else slope)
    wanted = [tensor for tensor, need in zip(named, needed, strict=True) if need and tensor is not None]
    found = iter(torch.autograd.grad(before, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]
