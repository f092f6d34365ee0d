from __future__ import annotations

import numpy as np

from defect_synth.compositor.visible_change import grey_level_change, tolerant_overlap, visible_change_mask


def test_levels_are_of_255_whatever_the_type():
    before = np.full((4, 4, 3), 100, np.uint8)
    after = before.copy()
    after[1, 1] = (90, 130, 100)
    assert grey_level_change(before, after)[1, 1] == 30
    assert np.isclose(grey_level_change(before / 255, after / 255)[1, 1], 30)
    assert grey_level_change(before[..., 0], after[..., 0])[1, 1] == 10


def test_no_change_is_an_empty_mask():
    assert not visible_change_mask(np.zeros((9, 9), np.float32)).any()
    assert not visible_change_mask(np.full((9, 9), 2.0, np.float32)).any()


def test_fading_edges_of_a_strong_defect_and_specks_are_left_out():
    change = np.zeros((20, 20), np.float32)
    change[5:15, 5:15] = 200
    change[4, 5:15] = 10
    assert np.array_equal(visible_change_mask(change), (change == 200).astype(np.uint8))
    change = change / 20
    change[4] = 0
    assert np.array_equal(visible_change_mask(change), (change == 10).astype(np.uint8))


def test_gaps_are_closed_only_where_something_changed():
    change = np.zeros((20, 20), np.float32)
    change[5:15, 5:15] = 50
    change[9, 9], change[11, 11] = 1, 0
    mask = visible_change_mask(change)
    assert mask[9, 9] == 1
    assert mask[11, 11] == 0


def test_masks_agree_as_far_as_each_lies_on_the_other_or_beside_it():
    line, wide, away = (np.zeros((20, 20), np.uint8) for _ in range(3))
    line[10, 4:16], wide[9:12, 4:16], away[2, 4:16] = 1, 1, 1
    assert tolerant_overlap(line, line) == 1
    assert tolerant_overlap(line, wide) == 1  # a soft edge of a pixel
    assert tolerant_overlap(line, away) == 0
    assert tolerant_overlap(line, np.zeros_like(line)) == 0
    block = np.zeros((20, 20), np.uint8)
    block[2:18, 4:16] = 1
    assert tolerant_overlap(line, block) == (12 + 3 * 12) / (12 + 16 * 12)
