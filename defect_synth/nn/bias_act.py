"""Bias, leaky ReLU, gain and clamp as one differentiable step that stores only its output for the backward pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2)  # restores the variance that a leaky ReLU takes away


def bias_act(x: Tensor, bias: Tensor | None, *, gain: float = ACTIVATION_GAIN, clamp: float = math.inf) -> Tensor:
    """clamp(leaky_relu(x + bias, 0.2) * gain, -clamp, clamp).

    Args:
        x: [N, C, ...].
        bias: [C] or None.
        gain: Multiplies the activation; must be positive.
        clamp: Symmetric bound of the result.

    Returns:
        [N, C, ...] in the dtype of `x`; differentiable twice.
    """
    if bias is not None:
        x = x + bias.to(x.dtype).reshape([1, -1] + [1] * (x.ndim - 2))
        if not torch.is_grad_enabled():
            return _activate_(x, gain, clamp)  # the sum above is ours, so it may be overwritten
    out: Tensor = _Activation.apply(x, gain, clamp)  # type: ignore[no-untyped-call]
    return out


def _activate_(x: Tensor, gain: float, clamp: float) -> Tensor:
    torch.nn.functional.leaky_relu_(x, SLOPE)
    if gain != 1:
        x.mul_(gain)
    if math.isfinite(clamp):
        x.clamp_(-clamp, clamp)
    return x


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: float, clamp: float) -> Tensor:
        y = torch.nn.functional.leaky_relu(x, SLOPE)
        if gain != 1:
            y.mul_(gain)
        if math.isfinite(clamp):
            y.clamp_(-clamp, clamp)
        ctx.save_for_backward(y)
        ctx.bounds = (gain, clamp)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (y,) = ctx.saved_tensors
        return _ActivationGrad.apply(grad_outputs[0], y, *ctx.bounds), None, None  # type: ignore[no-untyped-call]


class _ActivationGrad(torch.autograd.Function):
    """The derivative: linear in `grad` and piecewise constant in `y`, so that it is its own transpose."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, y: Tensor, gain: float, clamp: float) -> Tensor:
        ctx.save_for_backward(y)
        ctx.bounds = (gain, clamp)
        out = torch.ops.aten.leaky_relu_backward(grad, y, SLOPE, True)  # the sign of y is the sign of x
        if gain != 1:
            out.mul_(gain)
        if math.isfinite(clamp):
            out = torch.ops.aten.hardtanh_backward(out, y, -clamp, clamp)  # zero where |y| >= clamp, in one pass
        return out  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (y,) = ctx.saved_tensors
        return _ActivationGrad.apply(grad_outputs[0], y, *ctx.bounds), None, None, None  # type: ignore[no-untyped-call]
