"""What a donor does not cover goes on from it, without noise and without the donor's old border."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.painter.fill import filled

SIDE = 96


def disc(radius, centre=(48, 48)):
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(canvas, centre, radius, 1, -1)
    return canvas > 0


def test_texture_goes_on_smoothly_beyond_a_ragged_border():
    """A slope of brightness in the donor, whose border is torn: its picture in that border has no noise of pixels."""
    xs = np.mgrid[:SIDE, :SIDE][1]
    picture = np.repeat((40 + 2 * xs).astype(np.uint8)[:, :, None], 3, axis=2)
    torn = disc(30) & ~(np.random.default_rng(0).random((SIDE, SIDE)) < 0.5 * (disc(30) & ~disc(26)))
    mask = disc(36)

    covered, out = filled(np.zeros_like(picture), picture, mask, torn)

    assert covered == (torn & mask).sum() / mask.sum()
    new = out[:, :, 0].astype(float)
    steps = np.abs(np.diff(new, axis=0))[(mask[1:] & mask[:-1])]
    assert np.quantile(steps, 0.99) < 8  # torn pixels' own mirror images would differ by up to 40
    assert not out[~mask].any()


def test_the_old_border_of_a_donor_is_not_drawn_into_the_mask():
    """A dark blot with a light rim under a larger mask: no light line where the blot ended."""
    picture = np.full((SIDE, SIDE, 3), 220, np.uint8)
    picture[disc(30)] = 150
    picture[disc(28)] = 30
    there = disc(30)
    mask = disc(30) | disc(24, (62, 48))

    _, out = filled(picture, picture, mask, there)

    beside = cv2.dilate((mask & ~there).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert out[mask & beside & (cv2.erode(mask.astype(np.uint8), np.ones((7, 7))) > 0)].max() < 60


@pytest.mark.parametrize("turned", [False, True])
def test_a_thin_donor_keeps_all_of_its_pixels(turned):
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[46:49, 20:76] = True
    there = mask.copy()
    there[46, 20:76:5] = False  # a torn border, and one end that the donor does not reach
    there[:, 70:] = False
    if turned:
        picture, mask, there = (np.rot90(each).copy() for each in (picture, mask, there))

    _, out = filled(np.zeros_like(picture), picture, mask, there)

    assert (out[there] == picture[there]).all()
    assert out[mask].any(axis=1).all()


def test_large_pictures_are_mirrored_too():
    """More pixels than a signed 16-bit number counts, a slope of brightness that comes back."""
    picture = np.repeat(
        np.repeat(np.arange(400) % 200, 400).reshape(400, 400).T.astype(np.uint8)[:, :, None], 3, axis=2
    )
    mask = np.ones((400, 400), bool)
    there = np.zeros_like(mask)
    there[:, :199] = True

    covered, out = filled(np.zeros_like(picture), picture, mask, there)

    assert covered == 199 / 400
    assert np.abs(out[200, 230:330, 0].astype(int) - picture[200, 162:62:-1, 0]).max() <= 1  # in column 196
