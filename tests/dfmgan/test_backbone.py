from __future__ import annotations

import pytest
import torch

from defect_synth.dfmgan.backbone import Backbone, MappingNetwork
from defect_synth.dfmgan.config import TINY, BackboneConfig


@pytest.fixture
def backbone(dfmgan):
    return dfmgan.backbone


@pytest.fixture
def w(backbone, rng):
    with torch.no_grad():
        return torch.randn(3, backbone.config.num_ws, backbone.config.w_dim, generator=rng)


def noise_of(backbone):
    """The stored noise as the flat vector that `forward` takes."""
    maps = [buffer for name, buffer in backbone.named_buffers() if name.endswith("noise_const")]
    assert [m.shape[0] for m in maps] == list(backbone.noise_resolutions)
    return torch.cat([m.flatten() for m in maps])


class TestMapping:
    def test_the_length_of_z_is_irrelevant(self, backbone, rng):
        z = torch.randn(4, TINY.model.backbone.z_dim, generator=rng)
        torch.testing.assert_close(backbone.mapping(z), backbone.mapping(5 * z), rtol=1e-4, atol=1e-5)

    def test_truncation_goes_from_the_mean_to_w_in_a_straight_line(self, backbone, rng):
        z = torch.randn(2, TINY.model.backbone.z_dim, generator=rng)
        mean = backbone.mapping.w_avg
        full = backbone.rows(z)
        assert torch.equal(backbone.rows(z, truncation=0.0), mean.expand_as(full))
        torch.testing.assert_close(backbone.rows(z, truncation=0.3), mean + 0.3 * (full - mean))

    def test_rows_from_the_cutoff_on_are_not_truncated(self, backbone, rng):
        z = torch.randn(2, TINY.model.backbone.z_dim, generator=rng)
        full, half = backbone.rows(z), backbone.rows(z, truncation=0.5)
        cut = backbone.rows(z, truncation=0.5, cutoff=3)
        assert torch.equal(cut[:, :3], half[:, :3])
        assert torch.equal(cut[:, 3:], full[:, 3:])

    def test_all_rows_are_the_same_w(self, backbone, rng):
        z = torch.randn(2, TINY.model.backbone.z_dim, generator=rng)
        rows = backbone.rows(z)
        assert rows.shape == (2, backbone.config.num_ws, backbone.config.w_dim)
        assert all(torch.equal(rows[:, i], backbone.mapping(z)) for i in range(rows.shape[1]))

    def test_the_average_moves_by_the_complement_of_beta(self):
        mapping = MappingNetwork(4, 4, 1)
        mapping.w_avg.fill_(1.0)
        mapping.track_average(torch.full((5, 4), 3.0), beta=0.75)
        torch.testing.assert_close(mapping.w_avg, torch.full((4,), 1.5))


class TestRows:
    @pytest.mark.parametrize(
        ("below", "features", "rgb"),
        [(8, {0}, {0, 1}), (16, {0, 1, 2}, {0, 1, 2, 3}), (32, {0, 1, 2, 3, 4}, {0, 1, 2, 3, 4, 5})],
    )
    def test_to_rgb_reads_the_row_of_the_next_blocks_first_convolution(self, backbone, w, below, features, rgb):
        def rows_read(output):
            (gradient,) = torch.autograd.grad(output.square().sum(), w, retain_graph=True)
            return {i for i in range(w.shape[1]) if gradient[:, i].abs().max() > 0}

        w.requires_grad_(True)
        trunk = backbone.trunk(w, None, below=below)
        assert rows_read(trunk.features) == features
        assert rows_read(trunk.rgb) == rgb

    @pytest.mark.parametrize("row", range(8))
    def test_a_row_does_not_change_layers_before_its_own(self, backbone, w, row):
        other = w.clone()
        other[:, row] += 1
        with torch.no_grad():
            for below in (8, 16, 32, 64):
                a, b = backbone.trunk(w, None, below=below), backbone.trunk(other, None, below=below)
                convolutions = 2 * below.bit_length() - 7  # 1 at 4x4, then two per block
                assert torch.equal(a.features, b.features) == (row >= convolutions)
                assert torch.equal(a.rgb, b.rgb) == (row > convolutions)


class TestNoise:
    def test_none_is_the_stored_noise(self, backbone, w):
        stored = noise_of(backbone).expand(3, -1)
        assert backbone.noise_numel == stored.shape[1] == 16 + 2 * (64 + 256 + 1024)
        torch.testing.assert_close(backbone(w, stored), backbone(w))

    def test_zeros_switch_noise_off(self, backbone, w):
        silent = backbone(w, torch.zeros(3, backbone.noise_numel))
        assert (silent - backbone(w)).abs().max() > 1e-3
        for name, parameter in backbone.named_parameters():
            if name.endswith("noise_strength"):
                parameter.data.zero_()
        assert torch.equal(backbone(w), silent)

    def test_a_sample_has_its_own_noise(self, backbone, w, rng):
        noise = torch.randn(3, backbone.noise_numel, generator=rng)
        image = backbone(w, noise)
        noise[1] = 0
        changed = backbone(w, noise)
        torch.testing.assert_close(changed[[0, 2]], image[[0, 2]])
        assert (changed[1] - image[1]).abs().max() > 1e-3


@pytest.mark.parametrize("noisy", [True, False])
def test_a_sample_alone_without_gradients_is_what_it_is_in_a_batch(backbone, w, rng, noisy):
    noise = torch.randn(3, backbone.noise_numel, generator=rng) if noisy else None
    batch = backbone(w, noise).detach()
    with torch.no_grad():
        single = torch.cat([backbone(w[i : i + 1], None if noise is None else noise[i : i + 1]) for i in range(3)])
    assert (single - batch).abs().max() <= 1e-5 * batch.abs().max()


def test_a_grey_backbone_gives_one_channel():
    config = BackboneConfig(resolution=32, z_dim=8, w_dim=8, channel_base=64, channel_max=8, image_channels=1)
    with torch.device("meta"):
        assert Backbone(config)(torch.empty(2, config.num_ws, 8)).shape == (2, 1, 32, 32)
