from pathlib import Path

import numpy as np
import pytest

from defect_synth.data.coco_mask import CocoMask, decode_runs, fill_polygon
from defect_synth.errors import DataError
from tests.fake_data import segmentation


def test_a_square_covers_its_area_exactly() -> None:
    mask = fill_polygon([2, 3, 6, 3, 6, 8, 2, 8], 10, 12)
    expected = np.zeros((10, 12), np.uint8)
    expected[3:8, 2:6] = 1
    assert np.array_equal(mask, expected)


def test_polygon_area_is_unbiased() -> None:
    # A triangle of area 200: pixels by their centres miss and gain equally along the border.
    assert int(fill_polygon([5, 5, 25, 5, 5, 25], 32, 32).sum()) == pytest.approx(200, abs=10)


def test_polygon_thinner_than_a_pixel_does_not_vanish() -> None:
    mask = fill_polygon([2.1, 4.1, 9.2, 4.2, 9.2, 4.3, 2.1, 4.2], 10, 12)
    assert mask.sum() == 8
    assert np.array_equal(np.flatnonzero(mask.any(axis=1)), [4])


def test_polygon_outside_the_image_is_cut_off() -> None:
    mask = fill_polygon([-5, -5, 3, -5, 3, 3, -5, 3], 6, 6)
    assert mask.sum() == 9
    assert mask[:3, :3].all()


def test_runs_go_down_the_columns() -> None:
    mask = CocoMask(Path("a.json"), "1", 3, 4, runs=((2, 3, 7),)).rasterise()
    assert np.array_equal(mask, [[0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])


def test_text_form_of_literal_runs() -> None:
    # Worked by hand: 6 -> '6'; 1 -> '1'; 40 = 8 + 1 * 32 -> 'X1'; then differences to two places before:
    # 4 - 1 = 3 -> '3'; 9 - 40 = -31 = 1 - 32 -> 'Q' and the sign -> 'O'.
    assert decode_runs("61X13QO") == (6, 1, 40, 4, 9)


def test_text_form_survives_a_round_trip() -> None:
    rng = np.random.default_rng(3)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = (rng.random((37, 53)) < density).astype(np.uint8)
        text = segmentation(mask, "text")["counts"]
        assert np.array_equal(CocoMask(Path("a.json"), "1", 37, 53, runs=(text,)).rasterise(), mask)


def test_runs_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(DataError, match=r"^a.json: segmentation of image 7 is damaged: the run lengths add up to 9"):
        CocoMask(Path("a.json"), "7", 3, 4, runs=((2, 7),)).rasterise()


def test_polygon_of_two_points_is_refused() -> None:
    with pytest.raises(DataError, match=r"a polygon needs x, y pairs of at least 3 points, got 4 numbers"):
        CocoMask(Path("a.json"), "7", 3, 4, polygons=((0, 0, 1, 1),)).rasterise()
