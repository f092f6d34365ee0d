"""How the products of a category lie."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.errors import ConfigError
from defect_synth.product.arrangement import find_arrangement
from defect_synth.product.foreground import find_foreground
from tests.fake_parts import draw


def pairs(images):
    return [(image, find_foreground(image)) for image in images]


@pytest.fixture(scope="module")
def screws():
    return pairs([draw("screw", seed).image for seed in range(30)])


def test_parts_at_any_angle_have_poses_and_may_be_turned_but_not_mirrored(screws):
    found = find_arrangement(screws)
    assert found.poses is not None
    assert found.symmetry.turns == "any"
    assert not found.symmetry.can_mirror
    assert "each in a pose of its own" in found.describe()


def test_an_imprint_on_parts_that_lie_alike_forbids_turns_and_mirroring():
    found = find_arrangement(pairs([draw("label", seed, angle=0.0, offset=0.01).image for seed in range(30)]))
    assert found.poses is None
    assert found.symmetry.aligned
    assert found.symmetry.turns == "none"
    assert not found.symmetry.can_mirror


def test_a_noisy_square_that_lies_alike_may_be_turned_by_quarters_and_mirrored():
    rng = np.random.default_rng(0)
    image = np.full((80, 80, 3), 30.0)
    image[15:65, 15:65] = 200
    noisy = [(image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8) for _ in range(12)]
    symmetry = find_arrangement(pairs(noisy)).symmetry
    assert (symmetry.turns, symmetry.mirror_x, symmetry.mirror_y, symmetry.aligned) == ("quarter", True, True, True)


def test_what_the_user_says_overrides_what_is_found(screws):
    aligned, none = find_arrangement(screws, "aligned"), find_arrangement(screws, "none")
    assert aligned.symmetry.aligned
    assert aligned.poses is None
    assert not none.symmetry.aligned
    assert none.poses is None
    assert find_arrangement(screws, "any").poses is not None


def test_poses_cannot_be_asked_for_where_there_are_none():
    textures = [np.random.default_rng(seed).integers(0, 255, (64, 64, 3)).astype(np.uint8) for seed in range(8)]
    with pytest.raises(ConfigError, match="pose=any needs parts on a plain background"):
        find_arrangement(pairs(textures), "any")
