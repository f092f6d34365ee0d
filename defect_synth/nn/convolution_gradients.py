"""Convolutions as autograd functions that are each other's derivatives, for gradients of gradients."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from defect_synth.nn.convolution_kernels import Mode, channels_last, convolve_same, filter_gradient


class ConvolveSame(torch.autograd.Function):
    """Convolution with padding 1: [N, I, H, W], [O, I, 3, 3] -> [N, O, H, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return convolve_same(channels_last(x), weight, None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        back = grads = None
        if ctx.needs_input_grad[0]:
            back = ConvolveSame.apply(grad, weight.flip(2, 3).transpose(0, 1))  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            grads = FilterGradient.apply(False, x, grad)  # type: ignore[no-untyped-call]
        return back, grads


class ConvolveDown(torch.autograd.Function):
    """Convolution with stride 2 and without padding: [N, I, 2H + 1, 2W + 1], [O, I, 3, 3] -> [N, O, H, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return channels_last(F.conv2d(channels_last(x), weight, stride=2))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        back = ConvolveUp.apply(grad, weight) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        grads = FilterGradient.apply(True, x, grad) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return back, grads


class ConvolveUp(torch.autograd.Function):
    """The transpose of `ConvolveDown`, with the same filters: [N, O, H, W], [O, I, 3, 3] -> [N, I, 2H + 1, 2W + 1]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return channels_last(F.conv_transpose2d(channels_last(x), weight, stride=2))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        x, weight = ctx.saved_tensors
        back = ConvolveDown.apply(grad, weight) if ctx.needs_input_grad[0] else None  # type: ignore[no-untyped-call]
        grads = FilterGradient.apply(True, grad, x) if ctx.needs_input_grad[1] else None  # type: ignore[no-untyped-call]
        return back, grads


class FilterGradient(torch.autograd.Function):
    """Gradient of the filters of `ConvolveSame` or, with `down`, of `ConvolveDown`: [O, I, 3, 3]."""

    @staticmethod
    def forward(ctx: Any, down: bool, x: Tensor, grad: Tensor) -> Tensor:
        ctx.save_for_backward(x, grad)
        ctx.down = down
        return filter_gradient(down, channels_last(x), None, channels_last(grad), None)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (direction,) = grad_outputs
        x, grad = ctx.saved_tensors
        to_x = to_grad = None
        if ctx.needs_input_grad[1]:
            to_x = (
                ConvolveUp.apply(grad, direction)  # type: ignore[no-untyped-call]
                if ctx.down
                else ConvolveSame.apply(grad, direction.flip(2, 3).transpose(0, 1))  # type: ignore[no-untyped-call]
            )
        if ctx.needs_input_grad[2]:
            convolve = ConvolveDown if ctx.down else ConvolveSame
            to_grad = convolve.apply(x, direction)  # type: ignore[no-untyped-call]
        return None, to_x, to_grad


def _biased(y: Tensor, bias: Tensor | None) -> Tensor:
    return y if bias is None else y + bias[:, None, None]


# Convolution with filters [O, I, 3, 3] and bias, without the resampling, with torch's derivatives and with ours.
BY_TORCH: dict[Mode, Any] = {
    "same": lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1),
    "down": lambda x, weight, bias: F.conv2d(x, weight, bias, stride=2),
    "up": lambda x, weight, bias: F.conv_transpose2d(x, weight.transpose(0, 1), bias, stride=2),
}
BY_KERNELS: dict[Mode, Any] = {
    "same": lambda x, weight, bias: _biased(ConvolveSame.apply(x, weight), bias),  # type: ignore[no-untyped-call]
    "down": lambda x, weight, bias: _biased(ConvolveDown.apply(x, weight), bias),  # type: ignore[no-untyped-call]
    "up": lambda x, weight, bias: _biased(ConvolveUp.apply(x, weight.transpose(0, 1)), bias),  # type: ignore[no-untyped-call]
}
