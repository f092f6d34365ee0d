import cv2
import numpy as np
import pytest

from defect_synth.baselines.noise import perlin
from defect_synth.baselines.perlin import THRESHOLD, Perlin, turned_noise
from defect_synth.baselines.textures import changed, procedural
from defect_synth.errors import DataError

GOOD = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
BLACK = np.zeros((1, 64, 64, 3), np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_noise_is_zero_at_the_corners_of_its_grid_smooth_and_bounded():
    fine = perlin((256, 256), (4, 4), rng())
    assert np.abs(fine).max() <= 1
    assert np.abs(fine).max() > 0.4
    assert np.abs(fine[::64, ::64]).max() < 0.02  # half a pixel beside the corners
    assert np.abs(np.diff(fine, axis=0)).max() < 0.1
    assert fine.mean() == pytest.approx(0, abs=0.1)


def test_noise_between_corners_is_the_blend_of_their_slopes():
    # One cell, gradients pointing right and down: by hand at its middle.
    class Directions:
        def uniform(self, low, high, size):
            return np.array([[0.0, np.pi / 2], [np.pi / 2, 0.0]])

    # At (0.5, 0.5): 0.5, 0.5, -0.5, -0.5 from the four corners, weights of 1/4 each.
    assert perlin((1, 1), (1, 1), Directions())[0, 0] == pytest.approx(np.sqrt(2) * 0.25 * (0.5 + 0.5 - 0.5 - 0.5))
    # At (0.25, 0.25): fade 0.103516.
    fade = 6 * 0.25**5 - 15 * 0.25**4 + 10 * 0.25**3
    upper = 0.25 * (1 - fade) + 0.25 * fade
    lower = -0.75 * (1 - fade) - 0.75 * fade
    found = perlin((2, 2), (1, 1), Directions())[0, 0]
    assert found == pytest.approx(np.sqrt(2) * (upper * (1 - fade) + lower * fade), abs=1e-6)


def test_scales_and_angles_are_the_published_ones():
    drawn = [turned_noise((64, 64), rng(seed)) for seed in range(200)]
    assert {cells for pair, _, _ in drawn for cells in pair} == {1, 2, 4, 8, 16, 32}
    angles = [angle for _, angle, _ in drawn]
    assert -90 <= min(angles) < -85
    assert 85 < max(angles) <= 90


def test_inside_the_mask_is_the_blend_and_outside_the_good_image():
    # Over black, what is seen is (1 - beta) of the texture: no brighter than that.
    for sample in Perlin("nut", BLACK).sample("defect", range(30)):
        beta = float(sample.provenance.parameters["beta"])
        assert sample.image.max() <= np.rint((1 - beta) * 255)
        assert not sample.image[sample.mask == 0].any()
    for sample in Perlin("nut", GOOD).sample("defect", range(30)):
        assert np.array_equal(sample.mask == 1, (sample.image != sample.clean).any(2))
        assert np.array_equal(sample.clean, GOOD[int(sample.provenance.parameters["good_image"])])


def test_blending_is_exact_and_its_factor_in_range(tmp_path, monkeypatch):
    from defect_synth.baselines import perlin as module

    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (0, 0, 255), np.uint8))
    monkeypatch.setattr(module, "changed", lambda texture, _: texture)
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
    monkeypatch.setattr(module, "turned_noise", lambda shape, generator: ((1, 1), 0.0, ramp))
    monkeypatch.setattr(module, "changed", lambda texture, _: np.full_like(texture, 255))
    [sample] = Perlin("nut", BLACK).sample("defect", [0])
    assert np.array_equal(sample.mask == 1, ramp > 0.5)


def test_a_sample_depends_on_its_seed_alone():
    a, b = (Perlin("nut", GOOD).sample("defect", seeds) for seeds in ([3, 9], [9]))
    assert np.array_equal(a[1].image, b[0].image)
    assert not np.array_equal(a[0].image, a[1].image)


def test_textures_are_varied_and_three_changes_change_them():
    made = [procedural(32, rng(seed)) for seed in range(30)]
    assert all(t.shape == (32, 32, 3) and t.dtype == np.uint8 and t.std() > 1 for t in made)
    assert len({t.tobytes() for t in made}) == 30
    assert np.array_equal(made[4], procedural(32, rng(4)))
    after = [changed(t, rng(i)) for i, t in enumerate(made)]
    assert all(a.shape == t.shape and a.dtype == np.uint8 for a, t in zip(after, made, strict=True))
    assert sum(np.array_equal(a, t) for a, t in zip(after, made, strict=True)) == 0


def test_other_shapes_and_an_empty_folder(tmp_path):
    wide = np.zeros((1, 40, 56, 3), np.uint8)
    assert Perlin("nut", wide).sample("defect", [0])[0].mask.shape == (40, 56)
    with pytest.raises(DataError, match=r"no textures in .*; expected images such as those of DTD"):
        Perlin("nut", GOOD, tmp_path)
