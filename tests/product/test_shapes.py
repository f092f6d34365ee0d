"""Real masks relative to their product, and how solid they are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.product.shapes import CUT_OFF, DefectShape, solidity


def disc(radius, centre, side):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def test_a_shape_is_measured_in_radii_from_the_centre_of_the_product():
    product = disc(40, (48, 48), 97)
    mask = np.zeros((97, 97), np.uint8)
    mask[27:30, 66:71] = 1

    shape = DefectShape.of(mask, product)

    assert shape.mask.shape == (3, 5)
    assert shape.offset == pytest.approx((-20 / 40, 20 / 40), abs=0.01)
    assert shape.radius == pytest.approx(40, abs=0.1)
    assert shape.inside == 1


def test_the_share_inside_counts_what_is_off_the_product_and_off_the_image():
    product = np.zeros((40, 40), bool)
    product[:, 20:] = True
    across, cut_off = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    across[10:14, 15:25] = 1
    cut_off[10:14, 35:] = 1

    assert DefectShape.of(across, product).inside == 0.5
    assert DefectShape.of(cut_off, product).inside == CUT_OFF


def test_the_margin_is_the_distance_to_the_border_of_the_product():
    product = disc(400, (500, 500), 1000)
    off, on = (disc(60, (500 + at, 500), 1000).astype(np.uint8) & product.astype(np.uint8) for at in (310, 350))

    assert DefectShape.of(off, product).margin == pytest.approx(30 / 400, abs=0.01)
    assert DefectShape.of(on, product).margin < 0.005
    assert DefectShape.of(on, np.ones_like(product)).margin == 1  # a texture has no border


def test_discs_are_solid_and_bows_are_not():
    bow = np.zeros((200, 200), np.uint8)
    cv2.ellipse(bow, (100, 100), (40, 40), 0, 200, 340, 1, 3)

    assert solidity(disc(14, (110, 90), 200)) > 0.95
    assert solidity(bow) < 0.45
