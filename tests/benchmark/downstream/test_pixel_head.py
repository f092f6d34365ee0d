"""A head on frozen maps: it finds what it was shown, sees the same images in every arm, and repeats to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.benchmark.downstream.frozen_maps import RandomMaps, Standardisation, maps_of, masks_at_stride
from defect_synth.benchmark.downstream.pixel_head import HeadConfig, MaskedMaps, image_scores, train_pixel_head

CONFIG = HeadConfig(steps=60, channels=16)


def pictures(count, seed, *, defect=True):
    """Noise with a bright square of 8 pixels, and its mask."""
    rng = np.random.default_rng(seed)
    images = rng.normal(100, 10, (count, 64, 64, 3))
    masks = np.zeros((count, 64, 64), np.uint8)
    for k in range(count if defect else 0):
        y, x = rng.integers(4, 52, 2)
        images[k, y : y + 8, x : x + 8] += 90
        masks[k, y : y + 8, x : x + 8] = 1
    return images.clip(0, 255).astype(np.uint8), masks


@pytest.fixture(scope="module")
def maps():
    network = RandomMaps(64)
    images, masks = pictures(12, 0)
    good, _ = pictures(12, 1, defect=False)
    base, of_good = maps_of(network, images), maps_of(network, good)
    standard = Standardisation(base, of_good)

    def of(images):
        return standard.apply_(maps_of(network, images))

    return MaskedMaps(standard.apply_(base), masks_at_stride(masks, (16, 16))), standard.apply_(of_good), of


def train(maps, synthetic=None, seed=0, share=0.5):
    real, good, _ = maps
    return train_pixel_head(real, good, synthetic, share, real, CONFIG, seed)


def test_it_finds_defects_in_new_images(maps):
    head = train(maps)
    images, masks = pictures(10, 5)
    good, _ = pictures(10, 6, defect=False)
    found, of_good = head.probabilities(maps[2](images)), head.probabilities(maps[2](good))
    truth = masks_at_stride(masks, (16, 16))[:, 0].numpy() > 0
    iou = ((found >= head.threshold) & truth).sum() / ((found >= head.threshold) | truth).sum()
    assert iou > 0.6
    assert image_scores(found).min() > image_scores(of_good).max()


def test_the_same_seed_gives_the_same_head(maps):
    probabilities = [train(maps, seed=seed).probabilities(maps[0].maps) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(probabilities[0], probabilities[1])
    assert (probabilities[0] != probabilities[2]).any()


def test_generated_images_are_learnt_from(maps):
    nothing = MaskedMaps(maps[0].maps, torch.zeros_like(maps[0].masks))
    taught_wrong = train(maps, nothing, share=1.0).probabilities(maps[0].maps)
    assert image_scores(taught_wrong).max() < 0.5 < image_scores(train(maps).probabilities(maps[0].maps)).min()


def test_the_random_state_of_the_program_stays(maps):
    before = torch.random.get_rng_state()
    train(maps)
    assert torch.equal(before, torch.random.get_rng_state())


def test_standardised_maps_have_mean_0_and_deviation_1(maps):
    values = torch.cat([maps[0].maps, maps[1]]).float()
    assert values.mean((0, 2, 3)).abs().max() < 0.01
    assert (values.std((0, 2, 3)) - 1).abs().max() < 0.01


def test_a_mask_counts_where_three_tenths_of_a_position_are_defect():
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[0, 0, :4] = 1  # a quarter of the first position
    mask[0, 4:6, 4:8] = 1  # half of the last
    assert masks_at_stride(mask, (2, 2))[0, 0].tolist() == [[0, 0], [0, 1]]
