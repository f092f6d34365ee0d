"""Warping, dividing and uniting masks."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.product.mask_edits import bite, stamp, take_part, unite, warp_mask


def rng(seed=0):
    return np.random.default_rng(seed)


def ellipse(axes, side=64):
    mask = np.zeros((side, side), np.uint8)
    cv2.ellipse(mask, (side // 2, side // 2), axes, 20, 0, 360, 1, -1)
    return mask


def test_warp_without_bending_turns_about_the_middle():
    bar = np.zeros((5, 21), np.uint8)
    bar[2] = 1

    turned = warp_mask(bar, np.pi / 2, False, 1.0, 0.0, rng())

    ys, xs = np.nonzero(turned)
    assert np.ptp(ys) == 20
    assert np.ptp(xs) <= 1
    assert abs(ys.mean() - (turned.shape[0] - 1) / 2) <= 0.5


def test_warp_moves_offsets_as_documented():
    corner = np.zeros((21, 21), np.uint8)
    corner[:4, :8] = 1  # centre at offset (-8.5, -6.5)
    angle = np.deg2rad(30)

    ys, xs = np.nonzero(turned := warp_mask(corner, angle, False, 1.0, 0.0, rng()))

    offset = ys.mean() - (turned.shape[0] - 1) / 2, xs.mean() - (turned.shape[1] - 1) / 2
    y, x = -8.5, -6.5
    expected = y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)
    assert offset == pytest.approx(expected, abs=0.4)


def test_warp_mirrors_before_it_rotates():
    corner = np.zeros((21, 21), np.uint8)
    corner[:4, :8] = 1

    ys, xs = np.nonzero(flipped := warp_mask(corner, 0.0, True, 1.0, 0.0, rng()))

    assert ys.mean() < (flipped.shape[0] - 1) / 2
    assert xs.mean() > (flipped.shape[1] - 1) / 2


def test_a_thin_line_survives_being_shrunk():
    line = np.zeros((3, 101), np.uint8)
    line[1] = 1

    small = warp_mask(line, 0.3, False, 0.3, 0.0, rng())

    assert cv2.connectedComponents(small, connectivity=8)[0] == 2  # background and one line
    assert np.hypot(*map(np.ptp, np.nonzero(small))) == pytest.approx(30, abs=2)


def test_a_part_has_40_to_80_percent_of_the_mask():
    mask = ellipse((20, 10))

    for seed in range(10):
        part = take_part(mask, rng(seed))
        assert not part[mask == 0].any()
        assert 0.35 < part.sum() / mask.sum() < 0.85


def test_a_bite_is_taken_out_of_the_border_and_leaves_a_third():
    mask = ellipse((20, 10))

    for seed in range(10):
        bitten = bite(mask, rng(seed))
        assert not bitten[mask == 0].any()
        assert mask.sum() / 3 < bitten.sum() < mask.sum()


def test_tiny_masks_are_not_divided():
    dot = np.ones((2, 2), np.uint8)

    assert np.array_equal(take_part(dot, rng()), dot)
    assert np.array_equal(bite(dot, rng()), dot)


def test_a_union_is_connected_and_contains_both_masks():
    one, other = ellipse((20, 3)), ellipse((5, 5), 33)

    united = unite(one, other, rng())

    assert cv2.connectedComponents(united)[0] == 2
    assert max(one.sum(), other.sum()) <= united.sum() <= one.sum() + other.sum()


def test_a_stamp_is_cut_off_by_the_canvas():
    canvas = np.zeros((10, 10), np.uint8)

    stamp(canvas, np.ones((5, 5), np.uint8), 0.0, 9.0)

    assert canvas[:3, 7:].all()
    assert canvas.sum() == 9
