"""Symmetry of a product, found in its normal images."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.product.symmetry import Symmetry, find_symmetry


def noisy(rng, image):
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def found():
    """Symmetries of concentric rings, of an arrow and of stripes whose phase differs between images."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80] - 39.5
    rings = np.repeat((128 + 100 * np.cos(np.hypot(y, x) / 4))[:, :, None], 3, axis=2)
    arrow = np.full((80, 80, 3), 30.0)
    arrow[10:30, 20:60] = 200
    arrow[30:70, 25:35] = 120
    stripes = [np.repeat((128 + 60 * np.sin(y / 2 + rng.uniform(0, 6)))[:, :, None], 3, axis=2) for _ in range(8)]
    return {
        "rings": find_symmetry([noisy(rng, rings) for _ in range(8)]),
        "arrow": find_symmetry([noisy(rng, arrow) for _ in range(8)]),
        "stripes": find_symmetry([noisy(rng, image) for image in stripes]),
    }


def test_rings_may_be_turned_by_any_angle_and_mirrored(found):
    assert found["rings"].turns == "any"
    assert found["rings"].mirror_x
    assert found["rings"].aligned


def test_a_lopsided_product_may_not_be_turned_or_mirrored(found):
    assert found["arrow"].turns == "none"
    assert not found["arrow"].mirror_x
    assert not found["arrow"].mirror_y


def test_a_grain_forbids_quarter_turns_though_the_mean_image_is_flat(found):
    assert found["stripes"].turns == "half"
    assert not found["stripes"].aligned


@pytest.fixture(scope="module")
def square():
    rng = np.random.default_rng(0)
    image = np.full((80, 80, 3), 30.0)
    image[15:65, 15:65] = 200
    return find_symmetry([noisy(rng, image) for _ in range(8)])


def test_a_square_may_be_turned_by_quarters(square):
    assert square.turns == "quarter"
    assert square.aligned


@pytest.mark.parametrize("turns", ["none", "half"])
@pytest.mark.parametrize("mirror_x", [False, True])
@pytest.mark.parametrize("mirror_y", [False, True])
def test_a_product_mirrored_top_to_bottom_can_be_mirrored_if_it_can_be_turned(turns, mirror_x, mirror_y):
    expected = mirror_x or (mirror_y and turns == "half")
    assert Symmetry(turns, mirror_x, mirror_y).can_mirror == expected


def test_number_of_rotations():
    assert [Symmetry(turns).num_rotations for turns in ("none", "half", "quarter", "any")] == [1, 2, 4, 24]


def test_json_values_give_the_symmetry_back():
    symmetry = Symmetry("half", True, False, aligned=False)
    assert Symmetry(**symmetry.to_json()) == symmetry
