"""How large a recorded defect becomes in the given image."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from defect_synth.augment import DefectAugmenter
from defect_synth.compositor.bank import bank_from_samples
from defect_synth.samples import DefectSample, Provenance

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
