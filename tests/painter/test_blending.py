"""Blending of colours into an image."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.painter.blending import blend, extend_values, soften_border


def test_borders_are_softened_and_thin_lines_keep_their_strength():
    blot, wire = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    blot[10:30, 10:30] = 1
    wire[20, 5:35] = 1

    share = soften_border(blot)

    assert (share[14:26, 14:26] > 0.999).all()
    assert 0.5 < share[20, 10] < 0.9
    assert share[10, 10] < share[20, 10]
    assert np.allclose(share, share.T, atol=1e-5)
    assert (soften_border(wire)[20, 8:32] > 0.999).all()


def test_only_the_mask_changes_and_by_the_opacity():
    image = np.full((40, 40, 3), 100, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 1
    colour, opacity = np.full((40, 40, 3), 1, np.float32), np.full((40, 40, 1), 0.5, np.float32)

    blended = blend(image, mask, colour, opacity)

    assert (blended[mask == 0] == 100).all()
    assert blended[20, 20] == pytest.approx(100 + 0.5 * 155, abs=1)


def test_values_are_extended_by_two_pixels():
    mask = np.zeros((20, 20), np.uint8)
    mask[8:12, 8:12] = 1

    extended = extend_values(np.where(mask > 0, 3.0, -99.0).astype(np.float32)[:, :, None], mask)[:, :, 0]

    assert np.allclose(extended[6:14, 6:14], 3)
    assert extended.sum() == pytest.approx(3 * 64)
