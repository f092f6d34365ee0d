"""Every loss on numbers that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from defect_synth.dfmgan.losses import (
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    mode_seeking_loss,
    path_lengths,
    soft_mask,
)


def softplus(x):
    return math.log1p(math.exp(x))


def test_adversarial_losses_on_literal_logits():
    fake, real = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [-3.0]])
    assert generator_loss(fake).item() == pytest.approx((softplus(0) + softplus(-2)) / 2)
    expected = (softplus(0) + softplus(2)) / 2 + (softplus(-1) + softplus(3)) / 2
    assert discriminator_loss(fake, real).item() == pytest.approx(expected)


def test_an_undecided_discriminator_costs_log_2_per_side():
    zero = torch.zeros(4, 1)
    assert generator_loss(zero).item() == pytest.approx(math.log(2))
    assert discriminator_loss(zero, zero).item() == pytest.approx(2 * math.log(2))


def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights(rng):
    weight = torch.randn(1, 3, 4, 4, generator=rng, requires_grad=True)
    real = torch.randn(5, 3, 4, 4, generator=rng, requires_grad=True)
    penalty = gradient_penalty((real * weight).sum(dim=(1, 2, 3)), real)
    torch.testing.assert_close(penalty, weight.square().sum())
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, 2 * weight)


def test_r1_is_a_mean_over_the_batch_not_over_pixels():
    real = torch.ones(2, 1, 2, 2, requires_grad=True)
    logits = (real * torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1)).sum(dim=(1, 2, 3))
    assert gradient_penalty(logits, real).item() == pytest.approx((4 * 1 + 4 * 9) / 2)


def test_path_length_of_a_linear_generator(rng):
    """image = A w: the length is the root mean square over rows of |A_row^T y|, y = noise / side."""
    matrix = torch.randn(2, 4, 6, 3 * 8 * 8, generator=rng)  # sample, row, w_dim, pixel
    w = torch.randn(2, 4, 6, generator=rng, requires_grad=True)
    noise = torch.randn(2, 3, 8, 8, generator=rng)
    image = torch.einsum("nrwp,nrw->np", matrix, w).reshape(2, 3, 8, 8)
    by_hand = torch.einsum("nrwp,np->nrw", matrix, noise.flatten(1) / 8)
    expected = by_hand.norm(dim=2).square().mean(dim=1).sqrt()
    torch.testing.assert_close(path_lengths(image, w, noise), expected, rtol=1e-4, atol=1e-5)


def test_mode_seeking_on_literal_tensors():
    w_1, w_2 = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]), torch.tensor([[[0.0, 4.0], [1.0, 0.0]]])  # mean |.| = 1
    mask_1 = torch.tensor([[[[1.0, -1.0], [0.5, 0.0]]]])
    mask_2 = torch.tensor([[[[1.0, 1.0], [-0.5, -1.0]]]])  # differences 0, 2, 1, 1: mean 1
    assert mode_seeking_loss(w_1, w_2, mask_1, mask_2).item() == pytest.approx(1.0)
    assert mode_seeking_loss(w_1, w_2, mask_1, mask_2, epsilon=1.0).item() == pytest.approx(0.5)
    assert mode_seeking_loss(3 * w_1, 3 * w_2, mask_1, mask_2).item() == pytest.approx(3.0)
    assert mode_seeking_loss(w_1, w_2, mask_1 / 4, mask_2 / 4).item() == pytest.approx(4.0)


def test_mode_seeking_of_equal_masks_is_finite_only_with_epsilon():
    w, mask = torch.ones(1, 2, 2), torch.ones(1, 1, 2, 2)
    assert math.isinf(mode_seeking_loss(w, 0 * w, mask, mask).item())
    assert mode_seeking_loss(w, 0 * w, mask, mask, epsilon=1e-3).item() == pytest.approx(1000)


def test_mode_seeking_pushes_the_masks_apart():
    mask = torch.tensor([[[[0.5, -0.5]]]], requires_grad=True)
    mode_seeking_loss(torch.ones(1, 1, 2), torch.zeros(1, 1, 2), mask, torch.zeros(1, 1, 1, 2)).backward()
    assert (mask.grad * mask < 0).all()  # a step against the gradient moves away from the other mask


def test_the_soft_mask_is_a_steep_tanh_in_the_dtype_of_the_logits():
    logits = torch.tensor([-1.0, 0.0, 0.05, 1.0])
    assert soft_mask(logits, 10.0).tolist() == pytest.approx([math.tanh(10 * v) for v in logits.tolist()])
    assert soft_mask(logits.half(), 10.0).dtype == torch.float16


def test_a_leak_moves_saturated_pixels_back_and_never_further_out():
    logits = torch.tensor([2.0, 2.0, -2.0, -2.0, 0.05, 0.05], requires_grad=True)
    towards = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0])  # gradients: descending them moves in, out, in, out, ...
    mask = soft_mask(logits, 10.0, 0.05)
    assert torch.equal(mask, soft_mask(logits, 10.0))
    (mask * towards).sum().backward()
    steep = 10 * (1 - math.tanh(0.5) ** 2)
    assert logits.grad.tolist() == pytest.approx([0.5, 0, -0.5, 0, steep, -steep], abs=1e-6)
