"""The fast modulated convolution is its definition, up to the second derivative."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch

from defect_synth.nn.modulated_conv import modulated_conv2d, modulated_conv2d_reference

MODES = pytest.mark.parametrize(
    ("up", "demodulate", "kernel"), [(u, d, k) for u in (False, True) for d in (False, True) for k in (1, 3) if k > u]
)


def operands(rng, kernel):
    x = torch.randn(3, 4, 5, 6, generator=rng)
    weight = torch.randn(2, 4, kernel, kernel, generator=rng)
    style = 1 + 0.5 * torch.randn(3, 4, generator=rng)
    return [t.requires_grad_(True) for t in (x, weight, style)]


def derivatives(function, inputs, probe):
    """Value, gradients, and gradients of the squared norm of the gradients (what R1 and path length need)."""
    y = function(*inputs)
    first = torch.autograd.grad((y * probe[: y.numel()].view_as(y)).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    return y.detach(), [g.detach() for g in first], second


@MODES
def test_values_gradients_and_second_gradients_equal_the_definition(up, demodulate, kernel, rng):
    inputs = operands(rng, kernel)
    probe = torch.randn(2000, generator=rng)

    def fast(x, w, s):
        return modulated_conv2d(x, w, s, demodulate=demodulate, up=up)

    def slow(x, w, s):
        return modulated_conv2d_reference(x, w, s, demodulate=demodulate, up=up)

    got, expected = derivatives(fast, inputs, probe), derivatives(slow, inputs, probe)
    assert got[0].shape == ((3, 2, 10, 12) if up else (3, 2, 5, 6))
    torch.testing.assert_close(got[0], expected[0], rtol=1e-4, atol=1e-5)
    for a, b in zip([*got[1], *got[2]], [*expected[1], *expected[2]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def test_doubling_is_zero_insertion_convolution_and_the_binomial_filter(rng):
    x, weight, style = (t.detach().double() for t in operands(rng, 3))
    got = modulated_conv2d(x, weight, style, demodulate=False, up=True)
    line = np.array([1, 3, 3, 1]) / 8
    spread = np.zeros((3, 4, 9, 11))  # no zeros after the last pixel
    spread[:, :, ::2, ::2] = (x * style[:, :, None, None]).numpy()
    for n in range(3):
        for o in range(2):
            y = sum(scipy.signal.convolve2d(spread[n, i], weight[o, i].numpy()) for i in range(4))
            y = scipy.signal.convolve2d(y, 4 * np.outer(line, line))[2:-2, 2:-2]  # 4 makes up for the zeros
            torch.testing.assert_close(got[n, o], torch.from_numpy(y))


def test_demodulation_makes_the_scale_of_style_and_weight_irrelevant(rng):
    x, weight, style = operands(rng, 3)
    y = modulated_conv2d(x, weight, style)
    torch.testing.assert_close(modulated_conv2d(x, weight * 7, style * 3), y, rtol=1e-4, atol=1e-5)


def test_demodulated_output_of_white_noise_has_unit_power(rng):
    x = torch.randn(4, 16, 32, 32, generator=rng)
    weight, style = torch.randn(8, 16, 3, 3, generator=rng), torch.rand(4, 16, generator=rng) * 5 + 0.1
    power = modulated_conv2d(x, weight, style)[:, :, 1:-1, 1:-1].square().mean()
    assert 0.9 < power < 1.1


def test_a_sample_is_not_touched_by_the_styles_of_others(rng):
    x, weight, style = (t.detach() for t in operands(rng, 3))
    y = modulated_conv2d(x, weight, style)
    style[1:] += 1
    torch.testing.assert_close(modulated_conv2d(x, weight, style)[0], y[0])
