"""Statistics of colours inside a mask, and how colours are varied and matched."""

from __future__ import annotations

import numpy as np
import torch

from defect_synth.painter.appearance import (
    OPPONENT,
    appearance,
    appearance_of_one,
    match_appearance,
    recolour,
    recolour_one,
)


def test_appearance_is_mean_and_deviation_of_opponent_colours_inside_the_mask(rng):
    image, mask = torch.randn(1, 3, 8, 8, generator=rng), torch.zeros(1, 1, 8, 8)
    mask[..., 2:5, 1:7] = 1

    look = appearance(image, mask)[0]

    inside = torch.tensor(OPPONENT) @ image[0, :, 2:5, 1:7].reshape(3, -1)
    torch.testing.assert_close(look[:3], inside.mean(dim=1))
    torch.testing.assert_close(look[3:], inside.std(dim=1, unbiased=False), rtol=1e-4, atol=1e-4)
    numpy = appearance_of_one(image[0].permute(1, 2, 0).numpy(), mask[0, 0].numpy().astype(np.uint8))
    np.testing.assert_allclose(numpy, look.numpy(), rtol=1e-4, atol=1e-4)


def test_matching_gives_the_wanted_appearance_and_opponent_colours_are_a_rotation(rng):
    image, mask = torch.randn(2, 3, 16, 16, generator=rng), torch.zeros(2, 1, 16, 16)
    mask[..., 2:9, 1:12] = 1
    look = torch.tensor([[0.3, -0.1, 0.05, 0.2, 0.1, 0.02], [-0.5, 0.2, 0.0, 0.4, 0.05, 0.1]])

    torch.testing.assert_close(appearance(match_appearance(image, mask, look), mask), look, rtol=1e-3, atol=1e-3)
    rotation = torch.tensor(OPPONENT)
    torch.testing.assert_close(rotation @ rotation.t(), torch.eye(3))


def test_recolouring_keeps_to_the_mask_and_to_its_size(rng):
    donor, mask = torch.rand(2, 3, 16, 16, generator=rng) - 0.5, torch.zeros(2, 1, 16, 16)
    mask[..., 4:9, 4:9] = 1

    moved = recolour(donor, mask, torch.randn(2, 5, generator=rng))

    outside = (mask == 0).expand_as(donor)
    assert torch.equal(moved[outside], donor[outside])
    assert 0 < (moved - donor).abs().max() < 0.4
    noise = torch.zeros(2, 5)
    noise[:, 0] = 1.0  # contrast alone leaves the mean colour
    moved = recolour(donor * 0.5, mask, noise)
    torch.testing.assert_close((moved * mask).mean(dim=(2, 3)), (donor * 0.5 * mask).mean(dim=(2, 3)))
    of_one = recolour_one(donor[0].permute(1, 2, 0).numpy(), mask[0, 0].numpy().astype(np.uint8), noise[0].numpy())
    np.testing.assert_allclose(of_one, recolour(donor, mask, noise)[0].permute(1, 2, 0).numpy(), atol=1e-5)
