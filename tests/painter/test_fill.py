"""What a donor does not cover is continued from it, without noise and without the old border of the donor."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.painter.fill import fill_mask

SIDE = 96


def disc(radius, centre=(48, 48)):
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(canvas, centre, radius, 1, -1)
    return canvas > 0


def test_texture_is_continued_smoothly_beyond_a_ragged_border():
    """A slope of brightness in the donor, whose border is torn: its reflection is smooth."""
    xs = np.mgrid[:SIDE, :SIDE][1]
    image = np.repeat((40 + 2 * xs).astype(np.uint8)[:, :, None], 3, axis=2)
    torn = disc(30) & ~(np.random.default_rng(0).random((SIDE, SIDE)) < 0.5 * (disc(30) & ~disc(26)))
    mask = disc(36)

    out, covered = fill_mask(np.zeros_like(image), image, mask, torn)

    assert covered == (torn & mask).sum() / mask.sum()
    new = out[:, :, 0].astype(float)
    steps = np.abs(np.diff(new, axis=0))[(mask[1:] & mask[:-1])]
    assert np.quantile(steps, 0.99) < 8  # reflections in single torn pixels would differ by up to 40
    assert not out[~mask].any()


def test_the_old_border_of_a_donor_is_not_drawn_into_the_mask():
    """A dark blot with a light rim under a larger mask: no light line where the blot ended."""
    image = np.full((SIDE, SIDE, 3), 220, np.uint8)
    image[disc(30)] = 150
    image[disc(28)] = 30
    donor_mask = disc(30)
    mask = disc(30) | disc(24, (62, 48))

    out, _ = fill_mask(image, image, mask, donor_mask)

    beside = cv2.dilate((mask & ~donor_mask).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert out[mask & beside & (cv2.erode(mask.astype(np.uint8), np.ones((7, 7))) > 0)].max() < 60


@pytest.mark.parametrize("turned", [False, True])
def test_a_thin_donor_keeps_all_of_its_pixels(turned):
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[46:49, 20:76] = True
    donor_mask = mask.copy()
    donor_mask[46, 20:76:5] = False  # a torn border, and one end that the donor does not reach
    donor_mask[:, 70:] = False
    if turned:
        image, mask, donor_mask = (np.rot90(each).copy() for each in (image, mask, donor_mask))

    out, _ = fill_mask(np.zeros_like(image), image, mask, donor_mask)

    assert (out[donor_mask] == image[donor_mask]).all()
    assert out[mask].any(axis=1).all()


def test_large_images_are_reflected_too():
    """More pixels than a signed 16-bit number counts, a slope of brightness that is reflected."""
    image = np.repeat(np.repeat(np.arange(400) % 200, 400).reshape(400, 400).T.astype(np.uint8)[:, :, None], 3, axis=2)
    mask = np.ones((400, 400), bool)
    donor_mask = np.zeros_like(mask)
    donor_mask[:, :199] = True

    out, covered = fill_mask(np.zeros_like(image), image, mask, donor_mask)

    assert covered == 199 / 400
    assert np.abs(out[200, 230:330, 0].astype(int) - image[200, 162:62:-1, 0]).max() <= 1  # in column 196
