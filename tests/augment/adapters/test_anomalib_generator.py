from __future__ import annotations

import pytest
import torch
from torch import nn

from defect_synth.augment.adapters.anomalib_generator import DefectAnomalyGenerator
from defect_synth.errors import ConfigError
from tests.fake_painter import FakePainter


def images(n=6):
    return torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_masks_are_where_images_change():
    batch = images()
    painted, masks = DefectAnomalyGenerator(FakePainter(), 1.0)(batch)
    assert painted.shape == batch.shape
    assert masks.shape == (6, 1, 64, 64)
    assert masks.flatten(1).any(dim=1).all()
    changed = (painted != batch).any(dim=1, keepdim=True)
    assert not (changed & (masks == 0)).any()


def test_probability_zero_returns_the_images_bit_for_bit():
    batch = images()
    painted, masks = DefectAnomalyGenerator(FakePainter(), 0.0)(batch)
    assert torch.equal(painted, batch)
    assert not masks.any()


def test_the_same_seed_replays_and_a_second_pass_differs():
    batch = images()
    first, again = (
        DefectAnomalyGenerator(FakePainter(), 0.5, seed=3),
        DefectAnomalyGenerator(FakePainter(), 0.5, seed=3),
    )
    a, b = first(batch), again(batch)
    assert torch.equal(a[0], b[0])
    assert not torch.equal(first(batch)[1], a[1])


def test_one_image_and_grey_images_keep_their_shape():
    image, mask = DefectAnomalyGenerator(FakePainter(), 1.0)(images()[0])
    assert image.shape == (3, 64, 64)
    assert mask.shape == (1, 64, 64)
    grey, _ = DefectAnomalyGenerator(FakePainter(), 1.0)(images()[:, :1])
    assert grey.shape == (6, 1, 64, 64)


def test_normalised_images_are_refused():
    with pytest.raises(ConfigError, match="paint before the normalisation"):
        DefectAnomalyGenerator(FakePainter(), 1.0)(images() * 4 - 2)


def test_it_can_take_the_place_of_a_submodule():
    model = nn.Module()
    model.augmenter = nn.Identity()
    model.augmenter = DefectAnomalyGenerator(FakePainter())  # what Draem users do
    assert isinstance(model.augmenter, nn.Module)
