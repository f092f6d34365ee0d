"""A convolution of scaled input with demodulated output is StyleGAN2's modulated convolution, to second derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from defect_synth.nn.convolution import conv_layer
from defect_synth.nn.demodulation import demodulation
from defect_synth.nn.layers import Projection
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d


def modulated_conv2d(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True, up: bool = False) -> Tensor:
    """As the networks compute it."""
    scale = demodulation(weight, style) if demodulate else None
    return conv_layer(x, weight, mode="up" if up else "same", style=style, scale=scale, activate=False)


def modulated_conv2d_reference(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool, up: bool) -> Tensor:
    """The definition, one sample at a time: x [N, I, H, W], weight [O, I, k, k], style [N, I]."""
    samples = []
    for image, scale in zip(x, style, strict=True):
        w = weight * scale[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            y = torch.nn.functional.conv_transpose2d(image[None], w.transpose(0, 1), stride=2)
            samples.append(upfirdn2d(y, BINOMIAL, pad=(1, 1), gain=4.0))
        else:
            samples.append(torch.nn.functional.conv2d(image[None], w, padding=w.shape[2] // 2))
    return torch.cat(samples)


MODES = pytest.mark.parametrize(("up", "demodulate"), [(u, d) for u in (False, True) for d in (False, True)])
CHANNELS = pytest.mark.parametrize("channels", [(4, 2), (16, 16)])  # the form of torch, the kernels


def operands(rng, channels=(4, 2), kernel=3):
    x = torch.randn(3, channels[0], 5, 6, generator=rng)
    weight = torch.randn(channels[1], channels[0], kernel, kernel, generator=rng)
    style = 1 + 0.5 * torch.randn(3, channels[0], generator=rng)
    return [t.requires_grad_(True) for t in (x, weight, style)]


def derivatives(function, inputs, probe):
    """Value, gradients, and gradients of the squared norm of the gradients (what R1 and path length need)."""
    y = function(*inputs)
    first = torch.autograd.grad((y * probe[: y.numel()].view_as(y)).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    return y.detach(), [g.detach() for g in first], second


@MODES
@CHANNELS
def test_values_gradients_and_second_gradients_equal_the_definition(up, demodulate, channels, rng):
    inputs = operands(rng, channels)
    probe = torch.randn(6000, generator=rng)

    def fast(x, w, s):
        return modulated_conv2d(x, w, s, demodulate=demodulate, up=up)

    def slow(x, w, s):
        return modulated_conv2d_reference(x, w, s, demodulate=demodulate, up=up)

    got, expected = derivatives(fast, inputs, probe), derivatives(slow, inputs, probe)
    assert got[0].shape == ((3, channels[1], 10, 12) if up else (3, channels[1], 5, 6))
    torch.testing.assert_close(got[0], expected[0], rtol=1e-4, atol=1e-5)
    for a, b in zip([*got[1], *got[2]], [*expected[1], *expected[2]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@pytest.mark.parametrize("count", [1, 3])  # one sample scales the filters, several scale the input
def test_a_projection_is_a_modulated_convolution_without_demodulation(count, rng):
    torch.manual_seed(0)
    layer = Projection(4, 3, w_dim=5, clamp=256)
    x, w = torch.randn(count, 4, 5, 6, generator=rng), torch.randn(count, 5, generator=rng)
    torch.nn.init.normal_(layer.bias)

    style = layer.affine(w) / 4**0.5
    expected = modulated_conv2d_reference(x, layer.weight, style, demodulate=False, up=False)

    torch.testing.assert_close(layer(x, w), expected + layer.bias[:, None, None])


def test_doubling_is_zero_insertion_convolution_and_the_binomial_filter(rng):
    x, weight, style = (t.detach().double() for t in operands(rng))
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
    x, weight, style = operands(rng)
    y = modulated_conv2d(x, weight, style)
    torch.testing.assert_close(modulated_conv2d(x, weight * 7, style * 3), y, rtol=1e-4, atol=1e-5)


def test_demodulated_output_of_white_noise_has_unit_power(rng):
    x = torch.randn(4, 16, 32, 32, generator=rng)
    weight, style = torch.randn(8, 16, 3, 3, generator=rng), torch.rand(4, 16, generator=rng) * 5 + 0.1
    power = modulated_conv2d(x, weight, style)[:, :, 1:-1, 1:-1].square().mean()
    assert 0.9 < power < 1.1


def test_a_sample_does_not_depend_on_the_styles_of_others(rng):
    x, weight, style = (t.detach() for t in operands(rng))
    y = modulated_conv2d(x, weight, style)
    style[1:] += 1
    torch.testing.assert_close(modulated_conv2d(x, weight, style)[0], y[0])
