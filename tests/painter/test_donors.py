"""Donors are chosen, turned, bent and extended to fill a mask."""

from __future__ import annotations

import cv2
import numpy as np

from defect_synth.painter.donors import DonorBank
from defect_synth.product.exemplar import Exemplar


def chosen(bank, view, mask, seed=0):
    return bank.matcher.select(bank.matcher.costs(view, mask), np.random.default_rng(seed))


def striped(angle):
    """A bright bar across a field whose left half is dark: its surroundings tell its orientation."""
    image = np.full((48, 48, 3), 200, np.uint8)
    image[:, :24] = 40
    mask = np.zeros((48, 48), np.uint8)
    mask[20:28, 14:34] = 1
    image[mask > 0] = (250, 60, 60)
    turned = np.rot90(image, angle), np.rot90(mask, angle)
    return Exemplar(np.ascontiguousarray(turned[0]), np.ascontiguousarray(turned[1]))


def test_donors_are_turned_to_fit_shape_and_surroundings():
    bank = DonorBank([striped(0)], num_rotations=4, can_mirror=False)
    for quarter in range(4):
        target = striped(quarter)
        normal = target.image.copy()
        normal[target.mask > 0] = 120

        fitted = bank.fit(normal, target.mask, chosen(bank, normal, target.mask, seed=0))

        assert fitted.coverage > 0.9
        assert np.abs(fitted.image.astype(int) - target.image).mean() < 2


def test_what_a_donor_does_not_cover_is_filled_from_it_and_counted():
    exemplar = striped(0)
    bank = DonorBank([exemplar], num_rotations=1, can_mirror=False)
    view = np.full((48, 48, 3), 120, np.uint8)
    mask = np.zeros((48, 48), np.uint8)
    mask[4:44, 4:44] = 1

    fitted = bank.fit(view, mask, chosen(bank, view, mask, seed=0))

    assert fitted.coverage < 0.6
    assert np.abs(fitted.image[mask > 0].astype(int) - (250, 60, 60)).mean() < 12
    assert (fitted.image[mask == 0] == 120).all()


def test_two_donors_of_one_colour_are_combined_half_of_the_time():
    bank = DonorBank([striped(0), striped(0)], num_rotations=1, can_mirror=False)
    target = striped(0)

    choices = [chosen(bank, target.image, target.mask, seed=s) for s in range(40)]

    assert 8 < sum(choice.second is not None for choice in choices) < 32


def line(points, side=96, width=3):
    canvas = np.zeros((side, side), np.uint8)
    cv2.polylines(canvas, [np.array(points, np.int32)], False, 1, width)
    return canvas


def test_a_donor_brings_the_core_of_its_scratch_along_the_bow():
    straight = line([(16, 48), (80, 48)])
    bow = line([(16 + t, 48 + round(9 * np.sin(np.pi * t / 64))) for t in range(0, 65, 4)])
    image = np.full((96, 96, 3), 160, np.uint8)
    image[straight > 0] = 90
    image[line([(16, 48), (80, 48)], width=1) > 0] = 10  # the core
    bank = DonorBank([Exemplar(image, straight)], num_rotations=1, can_mirror=False)
    view = np.full((96, 96, 3), 160, np.uint8)

    fitted = bank.fit(view, bow, chosen(bank, view, bow))

    core = line([(16 + t, 48 + round(9 * np.sin(np.pi * t / 64))) for t in range(0, 65, 4)], width=1)
    assert fitted.coverage > 0.8
    assert np.array_equal(fitted.image[bow == 0], view[bow == 0])
    assert fitted.image[core > 0].mean() < fitted.image[(bow > 0) & (core == 0)].mean() - 25
