"""Bias, leaky ReLU, gain and clamp in one step equal the four steps."""

from __future__ import annotations

import math

import pytest
import torch

from defect_synth.nn.bias_act import bias_act

SETTINGS = pytest.mark.parametrize(("gain", "clamp"), [(math.sqrt(2), math.inf), (1.0, 0.8), (0.5, 0.4), (2.0, 1e9)])
SHAPES = pytest.mark.parametrize("shape", [(3, 4), (2, 4, 3, 5)])


def plain(x, bias, gain, clamp):
    if bias is not None:
        x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    return (torch.nn.functional.leaky_relu(x, 0.2) * gain).clamp(-clamp, clamp)


@SETTINGS
@SHAPES
@pytest.mark.parametrize("has_bias", [True, False])
def test_values_equal_the_formula_with_and_without_gradients(gain, clamp, shape, has_bias, rng):
    x = torch.randn(shape, generator=rng)
    bias = torch.randn(shape[1], generator=rng) if has_bias else None
    before = x.clone()
    expected = plain(x, bias, gain, clamp)
    torch.testing.assert_close(bias_act(x, bias, gain=gain, clamp=clamp), expected)
    with torch.no_grad():
        torch.testing.assert_close(bias_act(x, bias, gain=gain, clamp=clamp), expected)
    assert torch.equal(x, before)  # the caller's tensor is never overwritten


@SETTINGS
@SHAPES
def test_first_and_second_derivatives_are_right(gain, clamp, shape, rng):
    x = torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(shape[1], generator=rng, dtype=torch.float64, requires_grad=True)

    def function(x, bias):
        return bias_act(x, bias, gain=gain, clamp=clamp)

    assert torch.autograd.gradcheck(function, (x, bias))
    assert torch.autograd.gradgradcheck(function, (x, bias))


def test_clamped_values_get_no_gradient():
    x = torch.tensor([[-100.0, -1.0, 1.0, 100.0]], requires_grad=True)
    y = bias_act(x, None, gain=1.0, clamp=2.0)
    y.sum().backward()
    assert torch.equal(y, torch.tensor([[-2.0, -0.2, 1.0, 2.0]]))
    assert torch.allclose(x.grad, torch.tensor([[0.0, 0.2, 1.0, 0.0]]))


def test_the_bias_belongs_to_the_second_axis():
    y = bias_act(torch.zeros(1, 2, 1, 3), torch.tensor([1.0, -1.0]), gain=1.0)
    assert torch.allclose(y[0, :, 0], torch.tensor([[1.0] * 3, [-0.2] * 3]))
