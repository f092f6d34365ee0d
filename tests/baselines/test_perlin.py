import cv2
import numpy as np
import pytest

from defect_synth.baselines.perlin import THRESHOLD, Perlin, rotated_noise
from defect_synth.errors import DataError

NORMAL = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
BLACK = np.zeros((1, 64, 64, 3), np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_scales_and_angles_are_the_published_ones():
    drawn = [rotated_noise((64, 64), rng(seed)) for seed in range(200)]
    assert {cells for pair, _, _ in drawn for cells in pair} == {1, 2, 4, 8, 16, 32}
    angles = [angle for _, angle, _ in drawn]
    assert -90 <= min(angles) < -85
    assert 85 < max(angles) <= 90


def test_inside_the_mask_is_the_blend_and_outside_the_normal_image():
    # Over black, what is seen is (1 - beta) of the texture: no brighter than that.
    for sample in Perlin("nut", BLACK).sample("defect", range(30)):
        beta = float(sample.provenance.parameters["beta"])
        assert sample.image.max() <= np.rint((1 - beta) * 255)
        assert not sample.image[sample.mask == 0].any()
    for sample in Perlin("nut", NORMAL).sample("defect", range(30)):
        assert np.array_equal(sample.mask == 1, (sample.image != sample.clean).any(2))
        assert np.array_equal(sample.clean, NORMAL[int(sample.provenance.parameters["good_image"])])


def test_blending_is_exact_and_its_factor_in_range(tmp_path, monkeypatch):
    from defect_synth.baselines import perlin as module

    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    monkeypatch.setattr(module, "augmented_texture", lambda texture, _: texture)
    grey = np.full((1, 64, 64, 3), 100, np.uint8)
    betas = []
    for sample in Perlin("nut", grey, tmp_path).sample("defect", range(150)):
        beta = float(sample.provenance.parameters["beta"])
        wanted = np.rint((1 - beta) * np.array([255, 0, 0]) + beta * 100)
        assert np.array_equal(np.unique(sample.image[sample.mask == 1], axis=0), [wanted])
        betas.append(beta)
    assert 0 <= min(betas) < 0.05
    assert 0.75 < max(betas) <= 0.8


def test_the_mask_is_the_noise_above_a_half(monkeypatch):
    from defect_synth.baselines import perlin as module

    assert THRESHOLD == 0.5
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    monkeypatch.setattr(module, "rotated_noise", lambda shape, generator: ((1, 1), 0.0, ramp))
    monkeypatch.setattr(module, "augmented_texture", lambda texture, _: np.full_like(texture, 255))
    [sample] = Perlin("nut", BLACK).sample("defect", [0])
    assert np.array_equal(sample.mask == 1, ramp > 0.5)


def test_a_sample_depends_on_its_seed_alone():
    a, b = (Perlin("nut", NORMAL).sample("defect", seeds) for seeds in ([3, 9], [9]))
    assert np.array_equal(a[1].image, b[0].image)
    assert not np.array_equal(a[0].image, a[1].image)


def test_other_shapes_and_an_empty_folder(tmp_path):
    wide = np.zeros((1, 40, 56, 3), np.uint8)
    assert Perlin("nut", wide).sample("defect", [0])[0].mask.shape == (40, 56)
    with pytest.raises(DataError, match=r"no textures in .*; expected images such as those of DTD"):
        Perlin("nut", NORMAL, tmp_path)
