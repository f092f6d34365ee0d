"""Random positions on a product."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.product.locations import WeightedCells, random_pixel


def product():
    foreground = np.zeros((80, 80), bool)
    foreground[10:70, 10:70] = True
    return foreground


def test_cells_are_drawn_by_their_weight_and_their_share_of_product():
    weights = np.zeros((8, 8), np.float32)
    weights[4, 2], weights[4, 5], weights[0, 0] = 1, 3, 100  # the last one is off the product
    rng = np.random.default_rng(0)

    drawn = np.array([WeightedCells.of(weights, product()).draw(rng) for _ in range(400)])

    assert ((drawn >= [39.5, 19.5]) & (drawn < [49.5, 59.5])).all()
    assert (drawn[:, 1] > 40).mean() == pytest.approx(0.75, abs=0.06)


def test_no_cells_are_left_where_only_the_background_has_weight():
    weights = np.zeros((8, 8), np.float32)
    weights[0] = 1

    assert WeightedCells.of(weights, product()) is None


def test_any_pixel_of_the_product_may_be_drawn_and_no_other():
    foreground = np.zeros((5, 7), bool)
    foreground[1, 2] = foreground[4, 6] = True
    rng = np.random.default_rng(0)

    assert {random_pixel(foreground, rng) for _ in range(40)} == {(1, 2), (4, 6)}
