from __future__ import annotations

import pytest
import torch

from defect_synth.config import override
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import PAPER_256, TINY, BackboneConfig, DiscriminatorConfig, ModelConfig, ResidualConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.precision import set_precision
from defect_synth.dfmgan.residual import manipulate
from defect_synth.errors import ConfigError


def codes(generator, rng, count=3):
    backbone = generator.config.backbone
    w_object = torch.randn(count, backbone.num_ws, backbone.w_dim, generator=rng)
    w_defect = torch.randn(count, generator.config.num_defect_ws, backbone.w_dim, generator=rng)
    noise_object = torch.randn(count, generator.backbone.noise_numel, generator=rng)
    noise_defect = torch.randn(count, generator.defect_noise_numel, generator=rng)
    return w_object, w_defect, noise_object, noise_defect


def numel(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_papers():
    config = PAPER_256.model
    with torch.device("meta"):
        generator = DFMGAN(config)
        assert numel(Backbone(config.backbone)) == numel(generator.backbone) == 23_191_522
        assert numel(generator.defect_mapping) + numel(generator.residual) == 3_669_703
        assert numel(build_discriminator(config)) == 24_001_089
        assert numel(build_match_discriminator(config)) == 1_502_113


@pytest.mark.parametrize("resolution", [32, 64, 128, 256, 512, 1024])
def test_every_resolution_builds_and_gives_its_shapes(resolution):
    tiny = DiscriminatorConfig(channel_base=resolution, channel_max=8)
    config = ModelConfig(
        backbone=BackboneConfig(resolution=resolution, z_dim=8, w_dim=8, channel_base=2 * resolution, channel_max=8),
        residual=ResidualConfig(first_resolution=resolution // 4),
        discriminator=tiny,
        match_discriminator=tiny,
    )
    with torch.device("meta"):
        generator = DFMGAN(config)
        w_object = generator.backbone.rows(torch.empty(4, 8))
        image, logits = generator(w_object, generator.defect_rows(torch.empty(4, 8)))
        assert image.shape == (4, 3, resolution, resolution)
        assert logits.shape == (4, 1, resolution, resolution)
        assert generator.mask(generator.trunk(w_object), generator.defect_rows(torch.empty(4, 8))).shape == logits.shape
        assert build_discriminator(config)(image).shape == (4, 1)
        assert build_match_discriminator(config)(torch.cat([image, logits], dim=1)).shape == (4, 1)


class TestEquation1:
    def test_features_outside_the_mask_are_unchanged_bit_for_bit_and_inside_they_are_the_sum(self, rng):
        f_object, f_defect = (torch.randn(2, 5, 8, 8, generator=rng) for _ in range(2))
        logits = torch.randn(2, 1, 8, 8, generator=rng)
        logits[0, 0, 0, 0] = 0.0  # exactly the threshold is defect
        inside = (logits >= 0).expand_as(f_object)
        out = manipulate(f_object, f_defect, logits)
        assert torch.equal(out[~inside], f_object[~inside])
        torch.testing.assert_close(out[inside], (f_object + f_defect)[inside])
        assert inside[0, 0, 0, 0]

    def test_the_threshold_moves_the_border(self):
        logits = torch.tensor([-1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 4)
        out = manipulate(torch.zeros(1, 1, 1, 4), torch.ones(1, 1, 1, 4), logits, threshold=1.0)
        assert out.flatten().tolist() == [0, 0, 1, 1]

    def test_no_gradient_reaches_the_mask(self, rng):
        f_object, f_defect, logits = (torch.randn(1, c, 4, 4, generator=rng, requires_grad=True) for c in (3, 3, 1))
        manipulate(f_object, f_defect, logits).sum().backward()
        assert logits.grad is None
        assert torch.equal(f_object.grad, torch.ones_like(f_object))
        assert torch.equal(f_defect.grad, (logits >= 0).float().expand_as(f_defect))

    def test_pixels_outside_the_mask_are_the_clean_images_bit_for_bit(self, rng):
        # With one residual block at the full resolution nothing can leak sideways.
        config = override(TINY, {"model.residual.first_resolution": 32}).model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            generator = DFMGAN(config)
        w_object, w_defect, *noise = codes(generator, rng)
        with torch.no_grad():
            image, logits = generator(w_object, w_defect, *noise)
            clean = generator(w_object, None, *noise).image
        inside = (logits >= 0).expand_as(image)
        assert 0.05 < inside.float().mean() < 0.95
        assert torch.equal(image[~inside], clean[~inside])
        assert (image[inside] != clean[inside]).float().mean() > 0.9

    def test_an_empty_mask_gives_the_clean_image_bit_for_bit(self, dfmgan, rng):
        w_object, w_defect, *noise = codes(dfmgan, rng)
        dfmgan.residual.to_mask.bias.data.fill_(-200.0)
        image, logits = dfmgan(w_object, w_defect, *noise)
        assert (logits < 0).all()
        assert torch.equal(image, dfmgan(w_object, None, *noise).image)


@pytest.mark.parametrize("count", [1, 3])
def test_without_a_defect_the_image_is_the_backbones_bit_for_bit(dfmgan, rng, count):
    w_object, _, noise, _ = codes(dfmgan, rng, count)
    with torch.no_grad():
        image, logits = dfmgan(w_object, None, noise)
        assert torch.equal(image, dfmgan.backbone(w_object, noise))
    assert logits.shape == (count, 1, 32, 32)
    assert (logits < dfmgan.threshold).all()


@pytest.mark.parametrize("mask_dtype", ["float32", "float16"])
@pytest.mark.parametrize("noisy", [True, False])
def test_the_mask_alone_equals_the_mask_of_the_whole_network(dfmgan, rng, noisy, mask_dtype):
    config = override(TINY, {"model.residual.mask_dtype": mask_dtype}).model
    generator = DFMGAN(config)
    generator.load_state_dict(dfmgan.state_dict())
    w_object, w_defect, noise_object, noise_defect = codes(generator, rng)
    if not noisy:
        noise_object = noise_defect = None
    logits = generator(w_object, w_defect, noise_object, noise_defect).mask_logits
    assert logits.dtype == getattr(torch, mask_dtype)
    assert torch.equal(generator.mask(generator.trunk(w_object, noise_object), w_defect, noise_defect), logits)


def test_painting_a_trunk_equals_the_whole_forward_pass(dfmgan, rng):
    w_object, w_defect, noise_object, noise_defect = codes(dfmgan, rng)
    painted = dfmgan.paint(dfmgan.trunk(w_object, noise_object), w_object, w_defect, noise_object, noise_defect)
    whole = dfmgan(w_object, w_defect, noise_object, noise_defect)
    assert torch.equal(painted.image, whole.image)
    assert torch.equal(painted.mask_logits, whole.mask_logits)


def test_a_sample_alone_without_gradients_is_what_it_is_in_a_batch(dfmgan, rng):
    inputs = codes(dfmgan, rng)
    batch = [t.detach() for t in dfmgan(*inputs)]
    with torch.no_grad():
        singles = [dfmgan(*(t[i : i + 1] for t in inputs)) for i in range(3)]
    for k, whole in enumerate(batch):
        single = torch.cat([s[k] for s in singles])
        assert (single - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_the_mask_reads_rows_0_to_2_and_nothing_reads_the_last_row(dfmgan, rng):
    w_object, w_defect, *noise = codes(dfmgan, rng)
    w_defect.requires_grad_(True)
    dfmgan.residual.to_mask.bias.data.fill_(50.0)  # defect everywhere, so every block is read
    image, logits = dfmgan(w_object, w_defect, *noise)

    def rows_read(output):
        (gradient,) = torch.autograd.grad(output.square().sum(), w_defect, retain_graph=True)
        return {i for i in range(w_defect.shape[1]) if gradient[:, i].abs().max() > 0}

    assert rows_read(logits) == {0, 1, 2}
    assert rows_read(image) == {0, 1, 2, 3, 4, 5}  # TINY has residual blocks at 8, 16 and 32: seven rows


def test_the_object_below_the_first_residual_block_does_not_depend_on_the_defect(dfmgan, rng):
    w_object, w_defect, *noise = codes(dfmgan, rng)
    a, b = dfmgan(w_object, w_defect, *noise), dfmgan(w_object, w_defect + 1, *noise)
    assert not torch.equal(a.image, b.image)
    assert not torch.equal(a.mask_logits, b.mask_logits)
    trunk = dfmgan.trunk(w_object, noise[0])
    assert torch.equal(dfmgan.paint(trunk, w_object, w_defect, *noise).image, a.image)
    assert torch.equal(dfmgan.paint(trunk, w_object, w_defect + 1, *noise).image, b.image)


def test_float16_is_refused_for_a_network_without_clamping():
    config = TINY.model.model_copy(update={"backbone": TINY.model.backbone.model_copy(update={"conv_clamp": 1e30})})
    with pytest.raises(ConfigError, match=r"conv_clamp is 1e\+30.*float32 or bfloat16"):
        set_precision(DFMGAN(config), torch.float16)
    set_precision(DFMGAN(config), torch.bfloat16)
    set_precision(DFMGAN(TINY.model), torch.float16)


def test_a_mask_box_leaves_no_defect_beyond_it_and_nothing_else_changed():
    free = TINY.model
    boxed = override(free, {"residual.mask_box": (0.25, 0.75, 0.0, 0.5)})
    torch.manual_seed(0)
    one, two = DFMGAN(free).eval(), DFMGAN(boxed).eval()
    one.residual.to_mask.bias.data.fill_(1.0)  # defect almost everywhere
    two.load_state_dict(one.state_dict())
    z = torch.randn(2, 2, free.backbone.z_dim, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        w_object, w_defect = one.backbone.rows(z[0]), one.defect_rows(z[1])
        wide, narrow, clean = one(w_object, w_defect), two(w_object, w_defect), two(w_object, None)
    assert (wide.mask_logits >= 0).float().mean() > 0.9
    where = narrow.mask_logits >= 0
    around = torch.zeros_like(where)
    around[:, :, 6:26, 0:18] = True  # 8..24 and 0..16 of 32, and what interpolation reaches
    assert where[:, :, 10:22, 0:14].float().mean() > 0.9
    assert not where[~around].any()
    far = torch.zeros_like(where)
    far[:, :, :, 26:] = True
    torch.testing.assert_close(narrow.image[far.expand(-1, 3, -1, -1)], clean.image[far.expand(-1, 3, -1, -1)])


def test_a_mask_box_of_no_height_is_refused():
    with pytest.raises(ConfigError, match="mask_box must be"):
        override(TINY.model, {"residual.mask_box": (0.5, 0.5, 0.0, 1.0)})
