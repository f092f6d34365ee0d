"""How large a recorded defect becomes in the given image, and where it may be."""

from __future__ import annotations

import math
import pickle

import cv2
import numpy as np
import pytest

from defect_synth.augment import DefectAugmenter
from defect_synth.compositor.bank import bank_from_samples
from defect_synth.errors import ConfigError
from defect_synth.samples import DefectSample, Provenance
from tests.fake_painter import FakePainter
from tests.fake_parts import draw

_SIZES = ((60, 90), (84, 84), (120, 160))


def surface(size, rng):
    """A picture [H, W, 3] of a texture that fills it."""
    coarse = rng.normal(110, 12, (8, 8)).astype(np.float32)
    grain = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) + rng.normal(0, 2, size)
    return np.repeat(grain.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def bank_of(*sizes):
    rng, samples = np.random.default_rng(0), []
    for k, size in enumerate(sizes):
        image, mask = surface(size, rng), np.zeros(size, np.uint8)
        cv2.circle(mask, (size[1] // 2, size[0] // 2), 8, 1, -1)
        image[mask > 0] = 20
        samples.append(DefectSample(image, mask, "pit", Provenance("real", "tile", "pit", k)))
    return bank_from_samples("tile", samples)


def scales(bank, size):
    augmenter, rng = DefectAugmenter(bank), np.random.default_rng(1)
    made = [augmenter(surface(size, rng), rng) for _ in range(6)]
    return {round(s.provenance.parameters["scale"], 3) for s in made if s.mask.any()}


@pytest.mark.parametrize("size", [*_SIZES, (100, 100), (70, 240)])
def test_pictures_of_a_surface_that_differ_in_size_show_one_magnification(size):
    assert scales(bank_of(*_SIZES), size) == {1.0}


@pytest.mark.parametrize(("size", "expected"), [((240, 320), 2.0), ((30, 45), 0.5)])
def test_a_picture_out_of_the_recorded_sizes_is_taken_for_another_magnification(size, expected):
    assert scales(bank_of(*_SIZES), size) == {round(expected, 3)}


def test_with_recorded_images_of_one_size_defects_grow_with_the_picture():
    expected = math.sqrt(90 * 160 / (84 * 84))
    assert scales(bank_of((84, 84), (84, 84)), (90, 160)) == {round(expected, 3)}


@pytest.fixture(scope="module")
def scratched():
    """Screws with scratches on their heads."""
    drawn = [draw("screw", seed, side=128, defect="scratch_head") for seed in range(24)]
    samples = [
        DefectSample(part.image, part.mask, "scratch", Provenance("real", "screw", "scratch", k))
        for k, part in enumerate(drawn)
    ]
    return bank_from_samples("screw", samples)


def test_a_region_follows_the_part_and_defects_go_there_even_where_real_ones_never_are(scratched):
    reference = draw("screw", 100, side=128)
    tip = np.array([[reference.coordinates(y, x)[0] < 0 for x in range(128)] for y in range(128)])
    augmenter = pickle.loads(pickle.dumps(DefectAugmenter(scratched, region=tip, region_of=reference.image)))
    made = 0
    for seed in range(101, 113):
        part = draw("screw", seed, side=128)
        sample = augmenter(part.image, np.random.default_rng(seed))
        made += bool(sample.mask.any())
        assert all(part.coordinates(y, x)[0] < 0.08 for y, x in np.argwhere(sample.mask))
    assert made >= 10


def test_what_has_no_pose_cannot_be_followed_and_is_refused(scratched):
    tile, mask = surface((60, 90), np.random.default_rng(0)), np.ones((60, 90), bool)
    with pytest.raises(ConfigError, match=r"lie alike or whose pose can be told.*leave region_of out"):
        DefectAugmenter(bank_of(*_SIZES, *_SIZES), region=mask, region_of=tile)
    with pytest.raises(ConfigError, match="there is no region; give both"):
        DefectAugmenter(scratched, region_of=tile)
    with pytest.raises(ConfigError, match="needs a bank or a painter of this package"):
        DefectAugmenter(FakePainter(), region=mask, region_of=tile)
