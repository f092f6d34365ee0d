"""Resampling against scipy, and its derivatives against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import torch

from defect_synth.nn.upfirdn import BINOMIAL, upfirdn2d, upsample2d

CASES = [  # taps, up, down, pad
    (1, 1, 1, (0, 0)),
    (3, 1, 1, (1, 1)),
    (4, 2, 1, (2, 1)),
    (4, 1, 2, (1, 1)),
    (4, 1, 1, (2, 2)),
    (5, 3, 2, (4, 2)),
    (3, 2, 2, (0, 3)),
    (3, 2, 1, (-1, 2)),
    (2, 1, 1, (-2, -1)),
    (4, 3, 1, (6, -2)),
]


def random_taps(count, rng):
    """Asymmetric, so that a filter which is not flipped gives other numbers."""
    return tuple(torch.randn(count, generator=rng, dtype=torch.float64).tolist())


def by_scipy(x, taps, up, down, pad):
    """scipy gives the full convolution, which starts `len(taps) - 1` before the first window that lies inside."""
    for axis in (2, 3):
        length = x.shape[axis] * up + sum(pad) - len(taps) + 1
        full = scipy.signal.upfirdn(taps, x, up=up, axis=axis)
        margin = 32
        widths = [(margin, margin) if a == axis else (0, 0) for a in range(4)]
        full = np.pad(full, widths)
        first = margin + len(taps) - 1 - pad[0]
        x = full.take(range(first, first + length, down), axis=axis)
    return x


@pytest.mark.parametrize(("count", "up", "down", "pad"), CASES)
def test_every_pixel_equals_scipy(count, up, down, pad, rng):
    x = torch.randn(2, 3, 7, 6, generator=rng, dtype=torch.float64)
    taps = random_taps(count, rng)
    got = upfirdn2d(x, taps, up=up, down=down, pad=pad, gain=1.7)
    expected = 1.7 * by_scipy(x.numpy(), taps, up, down, pad)
    torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("count", "up", "down", "pad"), CASES)
def test_first_and_second_derivatives_are_right(count, up, down, pad, rng):
    x = torch.randn(1, 1, 6, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    taps = random_taps(count, rng)

    def resample(x):
        return upfirdn2d(x, taps, up=up, down=down, pad=pad, gain=0.6)

    assert torch.autograd.gradcheck(resample, x)
    assert torch.autograd.gradgradcheck(resample, x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("up", "down", "pad"), [(2, 1, (2, 1)), (1, 2, (1, 1)), (1, 1, (2, 2)), (1, 1, (-1, 3))])
def test_the_memory_format_is_preserved_and_does_not_change_the_values(layout, up, down, pad, rng):
    x = torch.randn(2, 5, 8, 8, generator=rng)
    got = upfirdn2d(x.contiguous(memory_format=layout), BINOMIAL, up=up, down=down, pad=pad)
    assert got.is_contiguous(memory_format=layout)
    torch.testing.assert_close(got, upfirdn2d(x, BINOMIAL, up=up, down=down, pad=pad))


def test_upsampling_a_constant_image_keeps_it_away_from_the_border():
    y = upsample2d(torch.full((1, 2, 6, 6), 3.0))
    assert y.shape == (1, 2, 12, 12)
    torch.testing.assert_close(y[:, :, 2:-2, 2:-2], torch.full((1, 2, 8, 8), 3.0))
    assert (y[:, :, 0, 0] < 3).all()  # beyond the border is zero


def test_upsampling_does_not_shift_the_image():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    y = upsample2d(x)
    torch.testing.assert_close(y, y.flip(2, 3))
    torch.testing.assert_close(y.sum(), torch.tensor(4.0))


def test_the_dtype_is_preserved():
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        assert upsample2d(torch.ones(1, 1, 4, 4, dtype=dtype)).dtype == dtype
