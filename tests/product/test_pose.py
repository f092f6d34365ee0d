"""Poses of parts that lie at any angle, against the poses that they were drawn in."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import ProductFrame
from defect_synth.product.pose import LooksAlike, Movement, PartPose, learn_poses, part_of_mask, separate_parts
from tests.fake_parts import PARTS, PLACES, draw

SEEN, NEW = range(40), range(1000, 1050)


def with_foreground(part):
    return part.image, find_foreground(part.image)


@pytest.fixture(scope="module")
def finders():
    return {name: learn_poses([with_foreground(draw(name, seed)) for seed in SEEN]) for name in PARTS}


def errors(parts, poses, order):
    """Degrees between found and true directions, up to one turn that is common to all."""
    directions = np.array([part.angle + pose.movement.angle for part, pose in zip(parts, poses, strict=True)])
    turns = np.exp(1j * order * directions)
    common = np.median(turns.real) + 1j * np.median(turns.imag)
    return np.rad2deg(np.abs(np.angle(turns / common))) / order


@pytest.mark.parametrize("name", PARTS)
def test_poses_of_new_images_are_right(finders, name):
    finder, parts = finders[name], [draw(name, seed) for seed in NEW]
    poses = [finder.find(*with_foreground(part)) for part in parts]
    assert max(errors(parts, poses, finder.looks_alike.order)) < 3
    assert min(pose.confidence for pose in poses) >= 0.5


@pytest.mark.parametrize("defect", PLACES)
def test_defects_do_not_disturb_the_pose(finders, defect):
    parts = [draw("screw", seed, defect=defect) for seed in range(20)]
    poses = [finders["screw"].find(*with_foreground(part)) for part in parts]
    assert max(errors(parts, poses, 1)) < 3


def test_a_dozen_images_are_enough():
    finder = learn_poses([with_foreground(draw("screw", seed)) for seed in range(12)])
    parts = [draw("screw", seed) for seed in NEW]
    assert max(errors(parts, [finder.find(*with_foreground(part)) for part in parts], 1)) < 3


def test_wrong_poses_of_parts_cut_off_by_the_image_are_flagged(finders):
    parts = [draw("screw", seed, offset=0.25) for seed in range(80)]
    poses = [finders["screw"].find(*with_foreground(part)) for part in parts]
    wrong = errors(parts, poses, 1) > 10
    assert wrong.sum() >= 4
    assert not any(pose.is_reliable for pose, bad in zip(poses, wrong, strict=True) if bad)


def test_a_gear_looks_alike_after_each_tooth_and_an_imprint_after_no_turn(finders):
    assert finders["gear"].looks_alike.order == 12
    assert finders["label"].looks_alike == LooksAlike(1, None)
    assert finders["screw"].looks_alike.order == 1


def test_a_plate_without_an_imprint_may_be_mirrored():
    rng = np.random.default_rng(0)
    images = []
    for seed in range(24):
        part = draw("label", seed)
        ys, xs = np.mgrid[:192, :192]
        dy, dx = ys - part.centre[0], xs - part.centre[1]
        u, v = dx * np.cos(part.angle) + dy * np.sin(part.angle), dy * np.cos(part.angle) - dx * np.sin(part.angle)
        plate = (np.abs(u) < 60) & (np.abs(v) < 30)
        image = np.where(plate[..., None], 190, 60) + rng.normal(0, 3, (192, 192, 3))
        images.append(image.clip(0, 255).astype(np.uint8))
    finder = learn_poses([(image, find_foreground(image)) for image in images])
    assert finder.looks_alike.order == 2
    assert finder.looks_alike.axis is not None


def test_parts_that_are_turned_over_are_found_mirrored():
    parts = [draw("bracket", seed, flip=seed % 3 == 0) for seed in range(30)]
    finder = learn_poses([with_foreground(part) for part in parts])
    assert finder.turned_over
    flips = np.array([finder.find(*with_foreground(part)).movement.flip for part in parts])
    drawn = np.array([part.flip for part in parts])
    assert (flips == drawn).all() or (flips != drawn).all()


def test_a_screw_in_a_fixed_light_is_not_taken_for_one_that_is_turned_over(finders):
    assert not finders["screw"].turned_over


def test_round_parts_and_textures_have_no_pose():
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:96, :96]
    discs, textures = [], []
    for _ in range(20):
        disc = np.hypot(ys - 48 - rng.normal(0, 3), xs - 48 - rng.normal(0, 3)) < 30
        image = np.where(disc[..., None], 200, 40) + rng.normal(0, 5, (96, 96, 3))
        discs.append(image.clip(0, 255).astype(np.uint8))
        textures.append(rng.integers(0, 255, (96, 96, 3)).astype(np.uint8))
    assert learn_poses([(image, find_foreground(image)) for image in discs]) is None
    assert learn_poses([(image, np.ones((96, 96), bool)) for image in textures]) is None


def test_each_of_two_parts_in_an_image_has_its_own_pose(finders):
    left, right = draw("screw", 1, offset=0.0), draw("screw", 2, offset=0.0)
    both = np.concatenate([left.image, right.image], axis=1)
    parts = finders["screw"].find_all(both, find_foreground(both))
    assert len(parts) == 2
    parts.sort(key=lambda part: part.pose.frame.x)
    single = [finders["screw"].find(*with_foreground(part)) for part in (left, right)]
    for found, alone in zip(parts, single, strict=True):
        assert abs(np.angle(np.exp(1j * (found.pose.movement.angle - alone.movement.angle)))) < np.deg2rad(3)
    mask = np.zeros(both.shape[:2], np.uint8)
    mask[:, 300:310] = 1
    assert part_of_mask(parts, mask) is parts[1]


def test_the_expected_outline_is_that_of_the_part_without_its_defect(finders):
    finder = finders["screw"]
    for seed in range(5):
        image, foreground = with_foreground(draw("screw", seed, defect="scratch_head"))
        expected = finder.expected(finder.find(image, foreground), foreground.shape)
        assert (expected & foreground).sum() / (expected | foreground).sum() > 0.85


def test_small_pieces_beside_a_part_are_no_parts():
    foreground = np.zeros((40, 40), bool)
    foreground[5:25, 5:25] = True
    foreground[30:34, 30:34] = True
    assert [part.sum() for part in separate_parts(foreground)] == [416]
    assert separate_parts(foreground)[0] is foreground


@pytest.mark.parametrize("flip", [False, True])
def test_movements_follow_and_undo_each_other(flip):
    move, other = Movement(0.7, flip), Movement(2.1, True)
    assert move.inverse().apply(*move.apply(1.0, 2.0)) == pytest.approx((1.0, 2.0))
    assert move.after(other).apply(1.0, 2.0) == pytest.approx(move.apply(*other.apply(1.0, 2.0)))


def test_a_pose_carries_points_to_its_frame_and_back():
    pose = PartPose(ProductFrame(50.0, 60.0, 10.0), Movement(0.4, True))
    assert pose.to_frame(*pose.to_image(0.3, -0.8)) == pytest.approx((0.3, -0.8))
    assert pose.to_image(0, 0) == (50.0, 60.0)
    twice = pose.resized(2.0)
    assert twice.to_image(0.3, -0.8) == pytest.approx([2 * (v + 0.5) - 0.5 for v in pose.to_image(0.3, -0.8)])


def test_movements_after_which_a_part_looks_alike_form_a_group():
    alike = LooksAlike(3, 0.4)
    movements = alike.movements()
    assert len(movements) == 6
    assert movements[0] == Movement(0.0, False)
    for a in movements:
        for b in movements:
            product = a.after(b)
            assert any(
                m.flip == product.flip and abs(np.angle(np.exp(1j * (m.angle - product.angle)))) < 1e-9
                for m in movements
            )
