"""A region drawn on one image is at the same place of the part in all others."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.errors import ConfigError, DataError
from defect_synth.product.arrangement import find_arrangement
from defect_synth.product.foreground import find_foreground
from defect_synth.product.region import PartRegion
from tests.fake_parts import draw

SIDE = 160


@pytest.fixture(scope="module")
def screws():
    images = [draw("screw", k, side=SIDE).image for k in range(24)]
    return find_arrangement([(image, find_foreground(image)) for image in images])


def on_head(part):
    """The head of a drawn screw, uint8 [H, W]."""
    mask = np.zeros(part.image.shape[:2], np.uint8)
    for y, x in np.argwhere(find_foreground(part.image)):
        mask[y, x] = part.coordinates(float(y), float(x))[0] > 0.3
    return mask


def overlap(found, expected):
    return (found & (expected > 0)).sum() / (found | (expected > 0)).sum()


def test_the_region_follows_a_screw_that_lies_anyhow(screws):
    assert screws.poses is not None
    reference = draw("screw", 100, side=SIDE)
    region = PartRegion(reference.image, on_head(reference), screws)
    for seed in range(101, 109):
        part = draw("screw", seed, side=SIDE, length=0.8, offset=0.02)
        found = region.in_image(part.image, find_foreground(part.image))
        assert overlap(found & find_foreground(part.image), on_head(part)) > 0.7


def test_a_small_copy_gives_the_region_of_the_whole_image(screws):
    reference, part = draw("screw", 100, side=SIDE), draw("screw", 101, side=2 * SIDE)
    region = PartRegion(reference.image, on_head(reference), screws)
    small = cv2.resize(part.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    found = region.in_image(small, find_foreground(small), (2 * SIDE, 2 * SIDE))
    assert overlap(found & find_foreground(part.image), on_head(part)) > 0.7


def test_the_region_is_on_each_part_in_an_image(screws):
    reference = draw("screw", 100, side=SIDE)
    parts = [draw("screw", 110 + k, side=SIDE) for k in range(2)]
    both = np.concatenate([part.image for part in parts], axis=1)
    found = PartRegion(reference.image, on_head(reference), screws).in_image(both, find_foreground(both))
    for part, half in zip(parts, np.split(found, 2, axis=1), strict=True):
        assert overlap(half & find_foreground(part.image), on_head(part)) > 0.6


def test_an_image_in_which_no_part_lies_in_a_known_way_has_no_region(screws):
    reference = draw("screw", 100, side=SIDE)
    region = PartRegion(reference.image, on_head(reference), screws)
    disc = np.full((SIDE, SIDE, 3), 60, np.uint8)
    cv2.circle(disc, (80, 80), 40, (200, 200, 200), -1)
    assert not region.in_image(disc, find_foreground(disc)).any()
    assert not region.in_image(disc, np.zeros((SIDE, SIDE), bool)).any()
    with pytest.raises(DataError, match="how the part lies in the image that the region was drawn on cannot be told"):
        PartRegion(disc, find_foreground(disc), screws)


def plate(size, at, side=60, seed=0):
    """An aligned plate whose mark is always at the top left."""
    rng = np.random.default_rng(seed)
    image = rng.normal(25, 2, (*size, 3))
    y, x = at
    image[y : y + side, x : x + side] = rng.normal(170, 2, (side, side, 3))
    image[y + 6 : y + 16, x + 6 : x + 16] = 90
    return image.clip(0, 255).astype(np.uint8)


def test_the_region_keeps_its_position_on_parts_that_lie_alike():
    images = [plate((100, 100), (20 + k % 2, 20), seed=k) for k in range(12)]
    arrangement = find_arrangement([(image, find_foreground(image)) for image in images], "aligned")
    mask = np.zeros((100, 100), np.uint8)
    mask[26:36, 26:36] = 1
    region = PartRegion(plate((100, 100), (20, 20)), mask, arrangement)
    moved = plate((200, 240), (60, 90), side=120)
    expected = np.zeros((200, 240), bool)
    expected[72:92, 102:122] = True
    assert overlap(region.in_image(moved, find_foreground(moved)), expected) > 0.6


def test_without_a_part_that_stands_out_the_images_are_compared_as_a_whole():
    images = [plate((100, 100), (20 + k % 2, 20), seed=k) for k in range(12)]
    arrangement = find_arrangement([(image, find_foreground(image)) for image in images], "aligned")
    mask = np.zeros((100, 100), np.uint8)
    mask[26:36, 26:36] = 1
    everything = np.ones((200, 200), bool)
    expected = np.zeros((200, 200), bool)
    expected[52:72, 52:72] = True
    large = cv2.resize(plate((100, 100), (20, 20)), (200, 200))
    for reference in (plate((100, 100), (20, 20)), np.full((100, 100, 3), 90, np.uint8)):
        found = PartRegion(reference, mask, arrangement).in_image(large, everything)
        assert overlap(found, expected) > 0.8


def test_textures_and_regions_of_another_size_are_refused(screws):
    rng = np.random.default_rng(0)
    textures = [rng.integers(80, 160, (64, 64, 3), np.uint8) for _ in range(8)]
    none = find_arrangement([(image, np.ones((64, 64), bool)) for image in textures], "none")
    with pytest.raises(ConfigError, match=r"parts that lie alike or whose pose can be told, .*leave region_of out"):
        PartRegion(textures[0], np.ones((64, 64), np.uint8), none)
    reference = draw("screw", 100, side=SIDE)
    with pytest.raises(DataError, match=r"region is \[9, 9\], the image that it was drawn on is \[160, 160\]"):
        PartRegion(reference.image, np.ones((9, 9), np.uint8), screws)
