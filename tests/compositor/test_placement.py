from __future__ import annotations

import numpy as np
import pytest

from defect_synth.compositor.placement import Pose, aligned_pose, fit_to_mask, free_pose, scale_of, target_box, warp
from defect_synth.product.frame import ProductFrame
from defect_synth.product.symmetry import Symmetry

BOX = (10, 20, 20, 40)  # y0, x0, y1, x1


def blob(side=64):
    image = np.zeros((side, side), np.uint8)
    image[10:20, 20:40] = 200
    return image


def test_a_pose_puts_the_middle_of_the_box_at_its_centre():
    affine = Pose(37.0, True, 1.7, (50.0, 31.0)).affine(BOX)
    assert affine[:, :2] @ (29.5, 14.5) + affine[:, 2] == pytest.approx((50, 31))
    assert scale_of(affine) == pytest.approx(1.7)


def test_a_quarter_turn_is_counter_clockwise():
    affine = Pose(90.0, False, 1.0, (0.0, 0.0)).affine(BOX)
    assert affine[:, :2] @ (1, 0) == pytest.approx((0, -1))  # right becomes up


def test_an_unmoved_warp_is_the_source():
    window = (5, 12, 25, 50)
    seen = warp(blob(), Pose(0.0, False, 1.0, (29.5, 14.5)).affine(BOX), BOX, window)
    assert np.array_equal(seen, blob()[5:25, 12:50])


def test_a_warp_reads_what_lies_around_the_box_too():
    source = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    near = warp(source, Pose(0.0, False, 1.0, (29.5, 14.5)).affine(BOX), BOX, (4, 14, 26, 46))
    assert np.array_equal(near, source[4:26, 14:46])


def test_shrinking_averages_and_does_not_fold():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    seen = warp(stripes, Pose(0.0, False, 0.25, (16.0, 16.0)).affine((0, 0, 64, 64)), (0, 0, 64, 64), (8, 8, 24, 24))
    assert abs(float(seen.mean()) - 127.5) < 8
    assert float(seen.std()) < 25


def test_the_target_box_holds_the_mapped_defect_and_ends_at_the_image():
    affine = Pose(0.0, False, 2.0, (10.0, 40.0)).affine(BOX)
    assert target_box(affine, BOX, 3, (64, 64)) == (28, 0, 53, 33)


def test_an_aligned_pose_keeps_the_place_on_the_object():
    rng = np.random.default_rng(0)
    poses = [
        aligned_pose(Symmetry(), 2.0, BOX, ProductFrame(30, 30, 20), ProductFrame(100, 80, 40), rng) for _ in range(40)
    ]
    assert np.mean([p.centre for p in poses], axis=0) == pytest.approx((80 + 40 * -0.025, 100 + 40 * -0.775), abs=1)
    assert not any(p.flip for p in poses)
    assert all(min(p.angle, 360 - p.angle) < 12 for p in poses)


def test_a_round_product_lets_an_aligned_defect_move_around_its_middle():
    rng = np.random.default_rng(0)
    poses = [
        aligned_pose(Symmetry("any"), 1.0, BOX, ProductFrame(30, 30, 20), ProductFrame(30, 30, 20), rng)
        for _ in range(60)
    ]
    offsets = np.array([p.centre for p in poses]) - 30
    distance = np.hypot(*offsets.T)
    assert distance == pytest.approx(15.5, abs=2)
    # The defect turns with its place.
    turned = np.degrees(np.arctan2(-offsets[:, 1], offsets[:, 0])) - np.degrees(np.arctan2(15.5, -0.5))
    off = (turned - np.array([p.angle for p in poses]) + 180) % 360 - 180
    assert np.abs(off).max() < 8
    assert np.ptp([p.angle for p in poses]) > 270


def test_products_without_symmetry_do_not_turn_defects():
    rng = np.random.default_rng(0)
    poses = [free_pose(Symmetry(), 1.0, (0.0, 0.0), rng) for _ in range(50)]
    assert not any(p.flip for p in poses)
    assert max(min(p.angle, 360 - p.angle) for p in poses) < 12
    halves = [free_pose(Symmetry("half", mirror_y=True), 1.0, (0.0, 0.0), rng) for _ in range(50)]
    assert {round(p.angle / 180) % 2 for p in halves} == {0, 1}
    assert any(p.flip for p in halves)


def test_a_drawn_mask_is_covered_by_the_fitted_defect():
    drawn = np.zeros((200, 200), np.uint8)
    drawn[60:150, 100:112] = 1
    recorded = (blob() > 0).astype(np.uint8)
    seen = (
        warp(recorded, fit_to_mask(drawn, recorded, np.random.default_rng(0)), BOX, (0, 0, 200, 200), outside=0) > 0.5
    )
    assert (seen & (drawn > 0)).sum() > 0.85 * drawn.sum()
