from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from defect_synth.dfmgan.ada import (
    LOW_PASS,
    NUM_UNIFORMS,
    AdaController,
    apply_color,
    apply_geometry,
    augment,
    augment_pair,
    draw,
)
from defect_synth.dfmgan.config import AugmentConfig

FIXTURE = Path(__file__).parents[2].parent / "shared" / "fixtures" / "tiny64" / "augment.npz"
GEOMETRY = ("scale", "rotate", "anisotropic_scale", "translation")
BLIT = ("flip", "rotate90", "integer_translation")
COLOR = ("brightness", "contrast", "luma_flip", "hue", "saturation")
NORMAL_VALUES = (4, 6, 8, 9, 10, 11, 14)
CHANCE_OF_ROTATION_AFTER = 15 + 6


def only(*names: str) -> AugmentConfig:
    return AugmentConfig(**{name: float(name in names) for name in (*GEOMETRY, *BLIT, *COLOR)})


def uniforms_with_all_transforms(values: float, count: int = 1) -> torch.Tensor:
    uniforms = torch.full((count, NUM_UNIFORMS), values, dtype=torch.float64)
    uniforms[:, 15:] = 0
    return uniforms


@pytest.mark.skipif(not FIXTURE.exists(), reason="the authors' fixtures are not beside the repository")
@pytest.mark.parametrize("percentile", [0.1, 0.35, 0.5, 0.62, 0.9])
@pytest.mark.parametrize("kind", ["blit_only", "geom_only", "color_only", "bgc"])
def test_augmentation_agrees_with_the_authors_at_fixed_percentiles(kind, percentile):
    arrays = np.load(FIXTURE)
    names = {"blit_only": BLIT, "geom_only": GEOMETRY, "color_only": COLOR, "bgc": (*BLIT, *GEOMETRY, *COLOR)}[kind]
    images = torch.from_numpy(arrays["x"])
    uniforms = uniforms_with_all_transforms(percentile, len(images))
    # Two habits of the fixture's debug mode: its normal values are erfinv(2 p - 1) without sqrt(2), and the rotation
    # after the anisotropic scaling stays off.
    wanted = torch.erfinv(torch.tensor(2 * percentile - 1, dtype=torch.float64)) / math.sqrt(2)
    uniforms[:, NORMAL_VALUES] = (torch.erf(wanted) + 1) / 2
    uniforms[:, CHANCE_OF_ROTATION_AFTER] = 0.999999

    drawn = draw(only(*names), 0.99999, uniforms, images.shape[2])

    reference = torch.from_numpy(arrays[f"{kind}|percentile{percentile}"])
    torch.testing.assert_close(augment(images, drawn), reference, atol=1e-4, rtol=1e-4)


def test_low_pass_is_an_orthogonal_symlet():
    taps = np.array(LOW_PASS) * math.sqrt(2)
    assert sum(LOW_PASS) == pytest.approx(1)
    for shift in range(0, 12, 2):
        assert taps[: 12 - shift] @ taps[shift:] == pytest.approx(float(shift == 0), abs=1e-9)
    high = taps * (-1.0) ** np.arange(12)
    for moment in range(6):
        assert high @ np.arange(12.0) ** moment == pytest.approx(0, abs=1e-6)


def test_p_zero_is_the_identity_bit_for_bit():
    uniforms = torch.rand(4, NUM_UNIFORMS, generator=torch.Generator().manual_seed(0))
    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert augment(images, draw(AugmentConfig(), 0.0, uniforms, 16)).equal(images)


def test_one_image_does_not_change_with_its_neighbours():
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    uniforms = torch.rand(3, NUM_UNIFORMS, generator=torch.Generator().manual_seed(2))
    together = augment(images, draw(AugmentConfig(), 0.8, uniforms, 16))
    for i in range(3):
        alone = augment(images[i : i + 1], draw(AugmentConfig(), 0.8, uniforms[i : i + 1], 16))
        torch.testing.assert_close(together[i : i + 1], alone, atol=2e-5, rtol=1e-5)


def test_safe_preset_leaves_orientation_and_hue_alone():
    drawn = draw(AugmentConfig().safe(), 1.0, uniforms_with_all_transforms(0.9), 32)
    assert drawn.inverse[0, 0, 1] == 0
    assert drawn.inverse[0, 1, 0] == 0
    assert drawn.inverse[0, 0, 0] > 0
    grey = drawn.color[0, :3, :3] @ torch.ones(3)
    torch.testing.assert_close(grey, grey[:1].expand(3))


def test_color_moves_brightness_and_undoes_two_half_turns_of_hue():
    images = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    brighter = draw(only("brightness"), 1.0, uniforms_with_all_transforms(0.8413447), 4)  # one standard deviation
    torch.testing.assert_close(apply_color(images, brighter.color), images + 0.2, atol=1e-5, rtol=0)
    half = draw(only("hue"), 1.0, uniforms_with_all_transforms(0.99999999), 4).color
    torch.testing.assert_close(apply_color(apply_color(images, half), half), images, atol=1e-4, rtol=0)


def test_geometry_is_differentiable_twice():
    inverse = draw(only("rotate", "scale"), 1.0, uniforms_with_all_transforms(0.55, 1), 6).inverse
    images = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: apply_geometry(x, inverse), (images,))
    assert torch.autograd.gradgradcheck(lambda x: apply_geometry(x, inverse).square(), (images,))


def test_pair_moves_image_and_mask_alike():
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    drawn = draw(only("rotate", "translation"), 1.0, uniforms_with_all_transforms(0.7, 2), 16)
    moved, mask = augment_pair(images, images[:, :1].clone(), drawn)
    torch.testing.assert_close(mask, moved[:, :1].clamp(-1, 1))
    assert mask.abs().max() <= 1


def test_controller_steps_by_sign_and_respects_its_cap():
    config = AugmentConfig(ada_kimg=1, interval=4, target=0.6, max_p=0.1)
    ada = AdaController(config, batch=10, max_p=config.max_p)
    for iteration in range(4):
        assert ada.p == 0
        ada.observe(1.0, iteration)
    assert ada.p == pytest.approx(10 * 4 / 1000)
    for iteration in range(4, 40):
        ada.observe(1.0, iteration)
    assert ada.p == pytest.approx(0.1)
    for iteration in range(40, 48):
        ada.observe(0.0, iteration)
    assert ada.p == pytest.approx(0.1 - 0.08)


def test_controller_continues_from_its_state():
    config = AugmentConfig(ada_kimg=1)
    signs = np.random.default_rng(0).uniform(-1, 1.5, 30)
    whole, first, second = (AdaController(config, batch=8, max_p=None) for _ in range(3))
    for i, sign in enumerate(signs):
        whole.observe(sign, i)
    for i in range(13):
        first.observe(signs[i], i)
    second.load(first.state())
    for i in range(13, 30):
        second.observe(signs[i], i)
    assert second.state() == whole.state()
