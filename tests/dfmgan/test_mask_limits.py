from __future__ import annotations

import numpy as np
import pytest

from defect_synth.dfmgan.mask_limits import box_of, coarsen


def test_the_box_holds_all_masks_and_a_margin_of_an_eighth_of_the_side():
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[0, 10, 12], masks[1, 20, 29] = 1, 1
    assert box_of(masks) == pytest.approx((10 / 32 - 1 / 8, 21 / 32 + 1 / 8, 12 / 32 - 1 / 8, 1.0))
    assert box_of(masks * 0) == (0, 1, 0, 1)


def test_coarse_masks_consist_of_the_generators_cells_and_miss_no_pixel():
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[0, np.arange(4, 25), np.arange(6, 27)] = 1  # a crack of one pixel
    coarse = coarsen(masks, 16)
    assert (coarse >= masks).all()
    cells = masks.reshape(2, 16, 2, 16, 2).max((2, 4))
    np.testing.assert_array_equal(coarse, cells.repeat(2, 1).repeat(2, 2))  # one doubling keeps square cells
    assert not coarse[1].any()
    np.testing.assert_array_equal(coarsen(masks, 32), masks)
    again = coarsen(coarsen(masks, 16), 16)
    np.testing.assert_array_equal(again, coarse)
