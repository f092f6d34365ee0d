"""The compiled convolution layer is its definition, up to the second derivative, for any number of threads."""

from __future__ import annotations

import math

import pytest
import torch

from defect_synth.nn import native
from defect_synth.nn.convolution import conv_layer, conv_layer_reference
from defect_synth.nn.convolution_gradients import ConvolveDown, ConvolveSame, ConvolveUp, FilterGradient
from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d
from defect_synth.nn.weight_cache import enable_weight_cache

pytestmark = pytest.mark.skipif(native.compiled() is None, reason="needs a C++ compiler")
# More than 128 tiles, so that Winograd's algorithm runs, and sides that no tile divides.
CASES = [("same", 9, 13), ("same", 2, 6), ("up", 2, 7), ("down", 2, 10)]
D = torch.float64


def operands(mode, n, size, rng, full, dtype=D):
    out = {"same": size, "up": 2 * size, "down": size // 2}[mode]
    shapes = [(n, 16, size, size), (32, 16, 3, 3), (n, 16), (n, 32), (32,), (n, 1, out, out)]
    x, weight, style, scale, bias, noise = (torch.randn(s, generator=rng, dtype=dtype) for s in shapes)
    parts = [x, 0.1 * weight, 1 + 0.3 * style, scale.abs() + 0.5, bias, noise]
    if not full:
        parts[2] = parts[3] = parts[5] = None
    return [None if part is None else part.requires_grad_(True) for part in parts]


def by_kernels(inputs, mode, clamp):
    x, weight, style, scale, bias, noise = inputs
    return conv_layer(x, weight, mode=mode, style=style, scale=scale, bias=bias, noise=noise, clamp=clamp)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("mode", "n", "size"), CASES)
def test_values_gradients_and_second_gradients_equal_the_definition(mode, n, size, full, rng):
    inputs = operands(mode, n, size, rng, full)
    given = [t for t in inputs if t is not None]
    results = []
    for function in (by_kernels, lambda i, m, c: conv_layer_reference(*i, m, True, c)):
        y = function(inputs, mode, 1.5)
        probe = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=D)
        first = torch.autograd.grad((y * probe).sum(), given, retain_graph=True)
        again = torch.autograd.grad((y * probe).sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in again), given, allow_unused=True)
        # What the gradient does not depend on may be None or zero.
        second = [torch.zeros_like(t) if g is None else g for t, g in zip(given, second, strict=True)]
        results.append([y, *first, *again, *second])
    for ours, theirs in zip(*results, strict=True):
        assert float((ours - theirs).detach().abs().max()) <= 1e-12 * float(theirs.detach().abs().max() + 1)


def test_the_gradient_accounts_for_a_scale_that_depends_on_the_style(rng):
    """Demodulation makes one argument a function of another; the direct paths alone must be counted."""
    x, weight, style, *_ = operands("same", 2, 6, rng, full=True)

    def penalty(function):
        scale = (style.square().sum(dim=1, keepdim=True) + 1).rsqrt().expand(-1, 32)
        y = function([x, weight, style, scale, None, None], "same", math.inf)
        (gradient,) = torch.autograd.grad(y.square().sum(), style, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), style)[0]

    torch.testing.assert_close(penalty(by_kernels), penalty(lambda i, m, c: conv_layer_reference(*i, m, True, c)))


@pytest.mark.parametrize("down", [False, True])
def test_derivatives_of_any_order_equal_finite_differences(down, rng):
    def random(*shape):
        return torch.randn(*shape, generator=rng, dtype=D, requires_grad=True)

    x, weight = random(2, 16, 33, 33), random(16, 16, 3, 3)
    grad = random(2, 16, 16, 16) if down else random(2, 16, 33, 33)
    functions = [(lambda x, grad: FilterGradient.apply(down, x, grad), (x, grad))]
    if down:
        functions += [(ConvolveDown.apply, (x, weight)), (ConvolveUp.apply, (grad, weight))]
    else:
        functions += [(ConvolveSame.apply, (x, weight))]
    for function, inputs in functions:
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.parametrize(("channels", "side"), [((16, 32), 26), ((32, 16), 9), ((48, 16), 65)])
def test_the_gradient_of_halving_filters_equals_the_definition(channels, side, rng):
    """Also where more tiles than a piece holds are summed, and where tiles reach over the border."""
    inside, outside = channels
    x = torch.randn(5, inside, 2 * side + 1, 2 * side + 1, generator=rng, dtype=D)
    weight = torch.zeros(outside, inside, 3, 3, dtype=D, requires_grad=True)
    grad = torch.randn(5, outside, side, side, generator=rng, dtype=D)
    (theirs,) = torch.autograd.grad(torch.nn.functional.conv2d(x, weight, stride=2), weight, grad)
    for dtype, tolerance in ((D, 1e-12), (torch.float32, 3e-6)):
        ours = FilterGradient.apply(True, x.to(dtype), grad.to(dtype)).to(D)
        assert float((ours - theirs).norm() / theirs.norm()) <= tolerance


@pytest.mark.parametrize(("mode", "n", "size"), CASES)
def test_float32_is_within_rounding_of_float64(mode, n, size, rng):
    inputs = operands(mode, n, size, rng, full=True)
    exact = by_kernels(inputs, mode, math.inf)
    rounded = by_kernels([t.detach().float() for t in inputs], mode, math.inf)
    error = (rounded.double() - exact).norm() / exact.norm()
    assert float(error.detach()) < 3e-6


@pytest.mark.parametrize(("mode", "n", "size"), [("same", 9, 13), ("up", 9, 7), ("down", 9, 14)])
def test_bytes_do_not_depend_on_threads_or_on_the_batch(mode, n, size, rng):
    before = torch.get_num_threads()
    x, weight, *rest = (t.detach().float() for t in operands(mode, n, size, rng, full=True))
    outputs, gradients = [], []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            leaf = weight.clone().requires_grad_(True)
            y = by_kernels([x, leaf, *rest], mode, 1.0)
            gradients.append(torch.autograd.grad(y.square().sum(), leaf)[0])
            outputs.append(y)
    finally:
        torch.set_num_threads(before)
    for later in (1, 2):
        assert torch.equal(outputs[0], outputs[later])
        assert torch.equal(gradients[0], gradients[later])
    style, scale, bias, noise = rest
    fewer = by_kernels([x[:8], weight, style[:8], scale[:8], bias, noise[:8]], mode, 1.0)
    assert torch.equal(fewer, outputs[0][:8])


def test_cached_filters_change_nothing(rng):
    layer = torch.nn.Conv2d(16, 32, 3)
    x = torch.randn(1, 16, 64, 64, generator=rng)
    with torch.no_grad():
        fresh = [conv_layer(x, layer.weight, mode=mode) for mode in ("same", "up")]
        enable_weight_cache(layer)
        for _ in range(2):
            cached = [conv_layer(x, layer.weight, mode=mode) for mode in ("same", "up")]
            assert all(torch.equal(a, b) for a, b in zip(fresh, cached, strict=True))


def test_weights_that_a_fused_optimiser_changed_are_read_again(rng):
    """A fused optimiser leaves no trace in the tensor's version."""
    layer = torch.nn.Conv2d(16, 16, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1, fused=True)
    x = torch.randn(1, 16, 64, 64, generator=rng)
    for _ in range(2):
        with torch.no_grad():
            y = conv_layer(x, layer.weight, activate=False)
            torch.testing.assert_close(y, torch.nn.functional.conv2d(x, layer.weight, padding=1), rtol=1e-4, atol=1e-4)
        layer.weight.grad = torch.ones_like(layer.weight)
        optimizer.step()


@pytest.mark.parametrize(("up", "down", "pad"), [(1, 1, (2, 2)), (2, 1, (2, 1)), (1, 2, (1, 1)), (2, 1, (-1, 3))])
@pytest.mark.parametrize("channels", [1, 16, 20])
def test_resampling_by_kernels_equals_the_other_form(up, down, pad, channels, rng, monkeypatch):
    x = torch.randn(2, channels, 21, 18, generator=rng).contiguous(memory_format=torch.channels_last)
    ours = upfirdn2d(x, BINOMIAL, up=up, down=down, pad=pad, gain=1.3)
    monkeypatch.setattr(native, "supports", lambda *tensors: False)
    torch.testing.assert_close(ours, upfirdn2d(x, BINOMIAL, up=up, down=down, pad=pad, gain=1.3))
