"""The painter's networks."""

from __future__ import annotations

import pytest
import torch

from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.network import PainterModel

SIDE = 32
CONFIG = PainterModelConfig(side=SIDE, channels=(16, 16, 16, 16, 16), z_dim=8, w_dim=8, map_channels=2)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PainterModel(CONFIG, 2)
        with torch.no_grad():  # not zero as at the start of training, where nothing would depend on anything
            network.branch.to_colour.weight.normal_()
    return network.eval()


def inputs(rng, count=2, side=SIDE):
    def normal(*shape):
        return torch.randn(count, *shape, generator=rng)

    mask = torch.zeros(count, 1, side, side)
    mask[:, :, 5:15, 8:20] = 1
    codes = PaintingCodes(
        normal(8), normal(2, side // 16, side // 16), normal(2, side // 4, side // 4), normal(6), normal(3, side, side)
    )
    return normal(3, side, side), mask, normal(3, side, side), torch.tensor([True, False][:count]), codes


@torch.no_grad()
@pytest.mark.parametrize("side", [32, 64])
def test_nothing_changes_outside_the_mask(network, rng, side):
    view, mask, donor, has, codes = inputs(rng, side=side)

    painted = network(view, mask, donor, has, codes, torch.tensor([0, 1]))

    outside = (mask == 0).expand_as(view)
    assert torch.equal(painted.image[outside], view[outside])
    assert (painted.image - view)[~outside].abs().min() > 0
    assert painted.opacity[mask == 0].abs().max() == 0


@torch.no_grad()
def test_grain_is_read_by_painters_trained_with_it_and_where_there_is_no_donor(network, rng, monkeypatch):
    view, mask, donor, has, codes = inputs(rng)
    other = codes._replace(grain=codes.grain + 1)
    label = torch.tensor([0, 1])

    def images(grain):
        monkeypatch.setattr(network.branch, "grain", grain)
        return [network(view, mask, donor, has, c, label).image for c in (codes, other)]

    assert torch.equal(*images(0.0))
    one, two = images(1.0)
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[1], two[1])


@torch.no_grad()
def test_a_donor_is_read_only_where_a_painting_starts_from_it(network, rng):
    view, mask, donor, has, codes = inputs(rng)

    one = network(view, mask, donor, has, codes, torch.tensor([0, 1])).image
    two = network(view, mask, donor + 0.5, has, codes, torch.tensor([0, 1])).image

    assert not torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


@torch.no_grad()
def test_painting_from_donors_equals_the_whole_network(network, rng):
    view, mask, donor, has, codes = inputs(rng)
    labels = torch.tensor([0, 1])

    from_donors = network.paint_from_donors(view, mask, donor, codes, labels)
    mixed = network(view, mask, donor, has, codes, labels)
    whole = network(view, mask, donor, torch.tensor([True, True]), codes, labels)

    for fast, slow in zip(from_donors, whole, strict=True):
        assert torch.equal(fast, slow)
    torch.testing.assert_close(from_donors.image[0], mixed.image[0])


@torch.no_grad()
@pytest.mark.parametrize("changed", ["z", "coarse_map", "fine_map", "appearance", "label"])
def test_a_painting_depends_on_every_code(network, rng, changed):
    view, mask, donor, has, codes = inputs(rng)
    labels = [torch.tensor([0, 0]), torch.tensor([0, 0])]
    other = codes
    if changed == "label":
        labels[1] = torch.tensor([1, 1])
    else:
        other = codes._replace(**{changed: getattr(codes, changed) + 1})

    one, two = (
        network(view, mask, donor, has, c, label).image for c, label in zip((codes, other), labels, strict=True)
    )

    assert not torch.equal(one, two)


def test_the_frozen_backbone_gets_no_gradient_and_the_branch_gets_one(network, rng):
    network.backbone.requires_grad_(False)
    view, mask, donor, has, codes = inputs(rng)

    network(view, mask, donor, has, codes, torch.tensor([0, 1])).image.square().sum().backward()

    assert all(p.grad is None for p in network.backbone.parameters())
    assert [n for n, p in network.branch.named_parameters() if p.grad is None or not p.grad.any()] == []
    network.zero_grad(set_to_none=True)
