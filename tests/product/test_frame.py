"""Centre, radius and depth of a product."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.errors import DataError
from defect_synth.product.frame import distance_to_border, product_frame


def disc(radius, centre, side):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def test_the_frame_of_a_disc_is_its_centre_and_radius():
    frame = product_frame(disc(30, (50, 60), 128))

    assert frame == pytest.approx((50, 60, 30), abs=0.1)


def test_a_frame_of_nothing_says_what_to_do():
    with pytest.raises(DataError, match="foreground is empty"):
        product_frame(np.zeros((8, 8), bool))


def test_distances_grow_from_the_border_inwards():
    product = disc(30, (64, 64), 128)

    depth = distance_to_border(product)

    assert (depth[~product] == 0).all()
    assert depth[64, 64] == pytest.approx(30, abs=1)
    assert depth[64, 64 - 30] == pytest.approx(1, abs=0.1)


def test_the_border_of_the_image_is_no_border_of_the_product():
    half = np.zeros((40, 40), bool)
    half[:, 20:] = True

    assert distance_to_border(half)[20, 39] == pytest.approx(20, abs=1)
    assert np.isinf(distance_to_border(np.ones((40, 40), bool))).all()
