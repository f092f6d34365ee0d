from __future__ import annotations

import numpy as np
import pytest

from defect_synth.compositor.image_region import ImageRegion


def left_half(height, width):
    mask = np.zeros((height, width), bool)
    mask[:, : width // 2] = True
    return mask


def test_no_layer_excludes_nothing():
    area = ImageRegion((40, 60))
    assert area.is_whole
    assert (area.weight((0, 0, 40, 60)) == 1).all()
    y, x, _ = area.frame()
    assert (y, x) == pytest.approx((19.5, 29.5), abs=0.5)


@pytest.mark.parametrize("size", [(512, 512), (64, 64)])
def test_a_layer_of_any_resolution_covers_the_image(size):
    area = ImageRegion((512, 512), left_half(*size))
    weight = area.weight((100, 200, 140, 312))
    assert (weight[:, :36] > 0.95).all()
    assert (weight[:, 57:] == 0).all()  # nothing beyond the edge, at 56
    assert area.frame()[1] == pytest.approx(127.5, abs=3)


def test_layers_overlap():
    area = ImageRegion((64, 64), left_half(64, 64), left_half(64, 64).T)
    weight = area.weight((0, 0, 64, 64))
    assert weight[:32, :32].all()
    assert weight.sum() == 32 * 32


def test_spots_lie_inside_and_away_from_the_outline():
    area = ImageRegion((300, 200), left_half(300, 200))
    rng = np.random.default_rng(0)
    spots = np.array([area.random_point(20, rng) for _ in range(200)])
    assert spots[:, 0].max() < 100 - 15
    assert spots[:, 0].min() > 15
    assert np.ptp(spots[:, 1]) > 200


def test_a_thin_region_of_a_large_image_still_has_spots():
    region = np.zeros((1000, 1000), bool)
    region[500:506] = True
    spot = ImageRegion((1000, 1000), region).random_point(50, np.random.default_rng(0))
    assert spot is not None
    assert 494 < spot[1] < 512


def test_an_empty_area_has_no_spot():
    assert ImageRegion((50, 50), np.zeros((50, 50), bool)).random_point(1, np.random.default_rng(0)) is None
