"""Registration of a donor's mask to another mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.painter.registration import register


def line(points, side=96, width=3):
    canvas = np.zeros((side, side), np.uint8)
    cv2.polylines(canvas, [np.array(points, np.int32)], False, 1, width)
    return canvas


STRAIGHT = line([(16, 48), (80, 48)])
BOW = line([(16 + t, 48 + round(9 * np.sin(np.pi * t / 64))) for t in range(0, 65, 4)])


def warped(mask, other):
    displacement = register(mask, other)
    assert displacement is not None
    return displacement.apply(np.zeros((96, 96, 3), np.uint8), other)[1]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("mask", [BOW, np.rot90(BOW).copy()])
def test_a_straight_scratch_is_bent_onto_a_bow(mask):
    other = STRAIGHT if mask is BOW else np.rot90(STRAIGHT).copy()

    assert iou(mask, other) < 0.35
    assert iou(mask, warped(mask, other)) > 0.7


def test_equal_shapes_and_empty_ones_are_left_alone():
    assert register(BOW, BOW) is None
    assert register(BOW, np.zeros_like(BOW)) is None


def test_the_pattern_in_a_blot_is_not_smeared():
    square, disc = np.zeros((96, 96), np.uint8), np.zeros((96, 96), np.uint8)
    square[24:72, 24:72] = 1
    cv2.circle(disc, (48, 48), 27, 1, -1)

    field = register(disc, square).field

    stretch = np.abs(np.diff(field, axis=0)).max(), np.abs(np.diff(field, axis=1)).max()
    assert max(stretch) < 0.25  # of a pixel to the next one


def test_an_image_is_warped_with_its_mask_and_only_around_it():
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)

    displacement = register(BOW, STRAIGHT)
    warped_image, warped_mask = displacement.apply(image, STRAIGHT)

    part = np.zeros((96, 96), bool)
    part[displacement.rows, displacement.columns] = True
    assert (part | (warped_mask == 0)).all()
    assert np.array_equal(warped_image[~part], image[~part])
    assert not np.array_equal(warped_image[part], image[part])
