"""Scales relative to the training images."""

from __future__ import annotations

import numpy as np

from defect_synth.product.exemplar import reference_side, relative_scale


def test_the_reference_is_the_longer_side_of_a_typical_image():
    images = [np.zeros((*shape, 3), np.uint8) for shape in ((100, 200), (210, 90), (10, 900))]

    assert reference_side(images) == 210


def test_an_image_of_twice_the_side_has_twice_the_pixels():
    assert relative_scale((100, 420, 3), 210) == 2
    assert relative_scale((420, 100), 210) == 2
