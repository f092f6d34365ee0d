"""Donors follow masks that are curved otherwise."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.painter.bend import bend
from defect_synth.painter.donors import DonorBank
from defect_synth.product.exemplar import Exemplar


def line(points, side=96, width=3):
    canvas = np.zeros((side, side), np.uint8)
    cv2.polylines(canvas, [np.array(points, np.int32)], False, 1, width)
    return canvas


STRAIGHT = line([(16, 48), (80, 48)])
BOW = line([(16 + t, 48 + round(9 * np.sin(np.pi * t / 64))) for t in range(0, 65, 4)])


def moved(mask, other):
    found = bend(mask, other)
    assert found is not None
    rows, columns, way = found
    ys, xs = np.mgrid[rows, columns].astype(np.float32)
    out = np.zeros_like(mask)
    out[rows, columns] = cv2.remap(other * np.uint8(255), xs + way[..., 0], ys + way[..., 1], cv2.INTER_LINEAR) > 127
    return out


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("mask", [BOW, np.rot90(BOW).copy()])
def test_a_straight_scratch_is_bent_onto_a_bow(mask):
    other = STRAIGHT if mask is BOW else np.rot90(STRAIGHT).copy()

    assert iou(mask, other) < 0.35
    assert iou(mask, moved(mask, other)) > 0.7


def test_equal_shapes_and_empty_ones_are_left_alone():
    assert bend(BOW, BOW) is None
    assert bend(BOW, np.zeros_like(BOW)) is None


def test_the_pattern_in_a_blot_is_not_smeared():
    square, disc = np.zeros((96, 96), np.uint8), np.zeros((96, 96), np.uint8)
    square[24:72, 24:72] = 1
    cv2.circle(disc, (48, 48), 27, 1, -1)

    _, _, way = bend(disc, square)

    stretch = np.abs(np.diff(way, axis=0)).max(), np.abs(np.diff(way, axis=1)).max()
    assert max(stretch) < 0.25  # of a pixel to the next one


def test_a_donor_brings_the_core_of_its_scratch_along_the_bow():
    image = np.full((96, 96, 3), 160, np.uint8)
    image[STRAIGHT > 0] = 90
    image[line([(16, 48), (80, 48)], width=1) > 0] = 10  # the core
    bank = DonorBank([Exemplar(image, STRAIGHT)], turns=1, mirror=False)
    view = np.full((96, 96, 3), 160, np.uint8)
    choice = bank.choose(view, BOW, np.random.default_rng(0))

    laid = bank.lay(view, BOW, choice)

    core = line([(16 + t, 48 + round(9 * np.sin(np.pi * t / 64))) for t in range(0, 65, 4)], width=1)
    assert laid.covered > 0.8
    assert np.array_equal(laid.picture[BOW == 0], view[BOW == 0])
    assert laid.picture[core > 0].mean() < laid.picture[(BOW > 0) & (core == 0)].mean() - 25
