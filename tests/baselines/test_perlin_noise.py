import numpy as np
import pytest

from defect_synth.baselines.perlin_noise import perlin_noise


def test_noise_is_zero_at_the_corners_of_its_grid_smooth_and_bounded():
    fine = perlin_noise((256, 256), (4, 4), np.random.default_rng(0))
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
    assert perlin_noise((1, 1), (1, 1), Directions())[0, 0] == pytest.approx(
        np.sqrt(2) * 0.25 * (0.5 + 0.5 - 0.5 - 0.5)
    )
    # At (0.25, 0.25): fade 0.103516.
    fade = 6 * 0.25**5 - 15 * 0.25**4 + 10 * 0.25**3
    upper = 0.25 * (1 - fade) + 0.25 * fade
    lower = -0.75 * (1 - fade) - 0.75 * fade
    found = perlin_noise((2, 2), (1, 1), Directions())[0, 0]
    assert found == pytest.approx(np.sqrt(2) * (upper * (1 - fade) + lower * fade), abs=1e-6)
