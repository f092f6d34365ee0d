"""Windows of images, and views of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.painter.window import computed_part, resample, split_mask, window_around


def test_a_small_defect_is_painted_in_its_own_pixels():
    mask = np.zeros((1000, 900), np.uint8)
    mask[500, 300:310] = 1

    window = window_around(mask, 128, 1.0)
    view = window.cut(mask, 128)

    assert window.size == 128
    assert view.sum() == 10


def test_a_window_stays_inside_the_image_and_comes_back_where_it_was():
    image = np.random.default_rng(0).integers(0, 256, (100, 140, 3), dtype=np.uint8)
    mask = np.zeros((100, 140), np.uint8)
    mask[0:4, 135:140] = 1
    window = window_around(mask, 64, 1.0)

    copy = np.zeros_like(image)
    window.paste(window.cut(image, 64), copy)

    assert (window.top, window.left) == (0, 76)
    assert np.array_equal(copy[0:64, 76:], image[0:64, 76:])


def test_a_window_larger_than_the_image_repeats_edges_but_no_mask():
    image = np.arange(20, dtype=np.uint8).repeat(60).reshape(20, 20, 3)
    mask = np.ones((20, 20), np.uint8)
    window = window_around(mask, 32, 1.0)

    view, seen = window.cut(image, 32), window.cut(mask, 32)

    assert seen.sum() == 400
    assert np.array_equal(view[0], view[6])


def test_distant_components_are_painted_one_by_one_and_near_ones_together():
    mask = np.zeros((400, 400), np.uint8)
    mask[10:14, 10:14] = mask[20:24, 30:34] = mask[350:354, 380:384] = 1

    parts = split_mask(mask, 64, 1.0)

    assert sorted(int(p.sum()) for p in parts) == [16, 32]
    assert np.array_equal(sum(parts), mask)


@pytest.mark.parametrize(("box", "size"), [((60, 62, 60, 70), 64), ((20, 90, 40, 60), 112), ((0, 128, 0, 128), 128)])
def test_only_the_part_of_a_view_around_the_mask_is_computed(box, size):
    mask = np.zeros((128, 128), np.uint8)
    mask[box[0] : box[1], box[2] : box[3]] = 1

    rows, columns = computed_part(mask)

    assert rows.stop - rows.start == columns.stop - columns.start == size
    assert mask[rows, columns].sum() == mask.sum()
    for part, (first, last) in zip((rows, columns), (box[:2], box[2:]), strict=True):
        assert part.start % 16 == 0
        assert part.start <= max(0, first - 12)
        assert part.stop >= min(128, last + 12)


def test_resampling_reads_where_the_matrix_says_at_any_scale():
    image = np.zeros((90, 90), np.uint8)
    cv2.circle(image, (60, 30), 8, 255, -1)
    for scale in (0.5, 1.0, 3.0):  # the last one shrinks by area first
        matrix = np.array([[scale, 0, 60 - 20 * scale], [0, scale, 30 - 20 * scale]], np.float32)

        ys, xs = np.nonzero(resample(image, matrix, 41, border=cv2.BORDER_CONSTANT) > 127)

        assert ys.mean() == pytest.approx(20, abs=0.4)
        assert xs.mean() == pytest.approx(20, abs=0.4)
        assert len(ys) == pytest.approx(np.pi * (8.2 / scale) ** 2, rel=0.15)
