import torch

from defect_synth.baselines.defect_gan_networks import (
    DefectGANGenerator,
    DefectLayer,
    SpatiallyAdaptiveNorm,
    uniform_category_map,
)


def test_the_norm_changes_only_where_the_category_does(rng):
    torch.manual_seed(0)
    norm = SpatiallyAdaptiveNorm(4, 2, 4).requires_grad_(False)
    x = torch.randn(1, 4, 16, 16, generator=rng)
    one_category = uniform_category_map(torch.tensor([0]), 2, 16).clone()
    two_categories = one_category.clone()
    two_categories[..., :4] = two_categories[..., :4].flip(1)
    changed = (norm(x, two_categories) - norm(x, one_category)).abs().amax(dim=(0, 1, 2)) > 0
    assert changed[:4].all()
    assert not changed[6:].any()  # two 3x3 convolutions reach two pixels further


def test_the_map_is_the_share_of_the_layer():
    layer = DefectLayer(torch.full((1, 3, 1, 3), 0.8), torch.tensor([[[[0.0, 0.25, 1.0]]]]))
    torch.testing.assert_close(layer.composed(torch.full((1, 3, 1, 3), 0.4))[0, 0, 0], torch.tensor([0.4, 0.5, 0.8]))


def test_composition_is_exact_where_the_map_is_0_or_1(rng):
    image, colour = torch.rand(2, 1, 3, 4, 4, generator=rng)
    soft = (torch.rand(1, 1, 4, 4, generator=rng) > 0.5).float()
    out = DefectLayer(colour, soft).composed(image)
    torch.testing.assert_close(out, torch.where(soft > 0, colour, image))
    assert torch.equal(DefectLayer(colour, torch.zeros_like(soft)).composed(image), image)


def test_the_category_and_the_noise_reach_the_layer(rng):
    torch.manual_seed(0)
    network = DefectGANGenerator(32, 3, 4, 1)
    with torch.no_grad():
        network.first.noise_strength.fill_(1.0)
    image, noise = torch.rand(1, 3, 32, 32, generator=rng), torch.randn(2, 1, network.noise_numel, generator=rng)
    network.requires_grad_(False)
    maps = [uniform_category_map(torch.tensor([label]), 3, 32) for label in (1, 2)]
    first = network(image, maps[0], noise[0])
    assert not torch.equal(first.colour, network(image, maps[1], noise[0]).colour)
    assert not torch.equal(first.colour, network(image, maps[0], noise[1]).colour)
    assert 0 <= float(first.map.min()) <= float(first.map.max()) <= 1
