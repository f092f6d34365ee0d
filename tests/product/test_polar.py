"""Polar pictures of parts and the turns by which they match."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import product_frame
from defect_synth.product.polar import SPECTRUM_SHAPE, match, spectrum, turned_back
from tests.fake_parts import draw


def of(part):
    foreground = find_foreground(part.image)
    return spectrum(part.image, foreground, product_frame(foreground), 2.1)


def difference(a, b):
    return abs(float(np.angle(np.exp(1j * (a - b)))))


@pytest.mark.parametrize("angle", [0.3, 2.0, 4.4])
def test_a_turned_part_matches_at_the_angle_of_its_turn(angle):
    still, turned = of(draw("bracket", 1, angle=0.0)), of(draw("bracket", 2, angle=angle))
    assert turned.shape == SPECTRUM_SHAPE
    found, flip, score = match(turned, still).best(mirrored=True)
    assert not flip
    assert score > 0.85
    assert difference(-found, angle) < np.deg2rad(1)  # offsets are y + ix: angles of u run the other way


def test_a_part_on_its_other_side_matches_only_mirrored():
    still, turned = of(draw("bracket", 1, angle=0.0)), of(draw("bracket", 2, angle=1.0, flip=True))
    scores = match(turned, still).scores
    assert scores[1].max() > 0.85 > scores[0].max() + 0.3


@pytest.mark.parametrize("flip", [False, True])
def test_turning_back_undoes_the_turn(flip):
    still, turned = of(draw("bracket", 1, angle=0.0)), of(draw("bracket", 2, angle=1.0, flip=flip))
    back = turned_back(turned, *match(turned, still).best(mirrored=True)[:2])
    angle, mirrored, _ = match(back, still).best(mirrored=True)
    assert not mirrored
    assert difference(angle, 0) < np.deg2rad(0.1)


def test_a_part_matches_itself_with_score_1():
    one = of(draw("screw", 3))
    assert match(one, one).scores[0, 0] == pytest.approx(1, abs=1e-5)
