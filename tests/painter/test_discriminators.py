"""The discriminators of the painter."""

from __future__ import annotations

import pytest
import torch

from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.discriminators import BackboneFeatures, LocalDiscriminators, weighted_mean
from defect_synth.painter.network import ImageBackbone

CONFIG = PainterModelConfig(side=32, channels=(16, 16, 16, 16, 16), z_dim=8, w_dim=8, map_channels=2)


def test_every_discriminator_depends_on_mask_and_label(rng):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        features = BackboneFeatures(ImageBackbone(CONFIG))
        discriminators = LocalDiscriminators(features.channels, 2)
    view, mask = torch.randn(2, 3, 32, 32, generator=rng), torch.zeros(2, 1, 32, 32)
    mask[:, :, 5:15, 8:20] = 1
    with torch.no_grad():
        maps = features(view)
        discriminators.standardise(maps)
        discriminators.eval()  # spectral norms are updated while training
        one = discriminators(maps, view, mask, torch.tensor([0, 1]))
        other_mask = discriminators(maps, view, mask.flip(3), torch.tensor([0, 1]))
        other_label = discriminators(maps, view, mask, torch.tensor([1, 0]))

    assert [tuple(logits.shape) for logits in one[:3]] == [(2, 1, 4, 4), (2, 1, 2, 2), (2, 1, 1, 1)]
    assert len(one) == 4
    for a, b, c in zip(one, other_mask, other_label, strict=True):
        assert not torch.equal(a, b)
        assert not torch.equal(a, c)


def test_a_small_defect_weighs_as_much_as_a_large_one():
    values = torch.zeros(1, 1, 8, 8)
    values[..., 0, 0] = 1.0
    small, large = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    small[..., 1, 1] = 1

    assert float(weighted_mean(values, small)) > 0.3
    assert float(weighted_mean(values, large)) == pytest.approx(1 / 64)


def test_standardised_features_have_a_mean_square_of_one(rng):
    discriminators = LocalDiscriminators([16], 2)
    maps = [torch.randn(4, 16, 8, 8, generator=rng) * torch.arange(16)[:, None, None]]

    discriminators.standardise(maps)

    power = (maps[0] * discriminators.scale0[:, None, None]).square().mean(dim=(0, 2, 3))
    torch.testing.assert_close(power[1:], torch.ones(15))
    assert power[0] == 0  # a channel that is always 0 stays 0
