"""Where the object is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.demo.hazelnut import object_mask, render
from defect_synth.product.foreground import find_foreground
from defect_synth.product.recent_images import RecentImages


def disc(side=96, shade=60):
    image = np.full((side, side, 3), 220, np.uint8)
    cv2.circle(image, (side // 2, side // 2), side // 3, (shade, shade, shade), -1)
    return image


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def test_an_object_on_a_uniform_background_is_found():
    truth = disc()[..., 0] == 60
    assert iou(find_foreground(disc()), truth) > 0.95


def test_a_hole_in_the_object_belongs_to_it():
    image = disc()
    cv2.circle(image, (48, 48), 10, (220, 220, 220), -1)
    assert find_foreground(image)[48, 48]


def test_specks_on_the_background_do_not():
    image = disc()
    image[4:7, 4:7] = 0
    assert not find_foreground(image)[:10, :10].any()


@pytest.mark.parametrize("seed", range(3))
def test_the_procedural_hazelnut_is_found(seed):
    assert iou(find_foreground(render(seed, 128).image), object_mask(seed, 128) > 0) > 0.9


def test_a_texture_is_foreground_everywhere():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (12, 12, 3)).astype(np.uint8)
    assert find_foreground(cv2.resize(noise, (120, 120), interpolation=cv2.INTER_CUBIC)).all()
    assert find_foreground(np.full((64, 64, 3), 127, np.uint8)).all()


@pytest.mark.parametrize("seed", range(6))
def test_no_product_is_found_in_the_pattern_of_a_weave(seed):
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[:384, :384]
    bent = cv2.GaussianBlur(rng.normal(0, 24, (384, 384)), (0, 0), 20)
    weave = 118 + 28 * np.sin(xs / 3.1 + bent) * np.sin(ys / 3.3 + bent) + rng.normal(0, 16, (384, 384))
    assert find_foreground(np.repeat(weave.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)).all()


def test_a_product_that_fills_the_frame_is_foreground_everywhere():
    image = np.full((64, 64, 3), 90, np.uint8)
    image[20:40, 20:40] = 20
    image[:2] = 200
    assert find_foreground(image).mean() > 0.1


def test_any_aspect_gives_a_mask_of_the_images_size():
    assert find_foreground(np.full((30, 400, 3), 9, np.uint8)).shape == (30, 400)


def test_the_cache_finds_images_by_content_and_forgets_old_ones():
    cache = RecentImages(find_foreground, size=2)
    first = cache(disc())
    assert cache(disc()) is first
    assert np.array_equal(first, find_foreground(disc()))
    for shade in (61, 62):
        cache(disc(shade=shade))
    assert cache(disc()) is not first


def test_foreground_finds_the_nut_and_takes_a_texture_whole():
    image = render(3, 128).image
    found = find_foreground(image)
    assert found[64, 64]
    assert not found[2, 2]
    assert 0.1 < found.mean() < 0.8
    texture = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    assert find_foreground(texture).all()
