"""Limits of colours and detail that paintings must keep."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.painter.quality_check import PaintingLimits, colour_statistics, fine_detail
from tests.fake_data import fake_nut


def test_real_defects_lie_within_the_limits_and_bright_ones_do_not():
    rng = np.random.default_rng(0)
    real_defects = [fake_nut(rng, 64, "hole") for _ in range(4)]
    limits = PaintingLimits(
        [colour_statistics(*real) for real in real_defects], [fine_detail(*real) for real in real_defects]
    )
    image, mask = fake_nut(rng, 64, "hole")
    bright = image.copy()
    bright[mask > 0] = 240

    assert limits.excess(colour_statistics(image, mask)) == 0
    assert limits.excess(colour_statistics(bright, mask)) > 50


def test_a_smear_is_told_from_a_defect_whatever_its_contrast():
    rng = np.random.default_rng(0)
    mask = np.zeros((64, 64), np.uint8)
    cv2.ellipse(mask, (32, 32), (20, 12), 30, 0, 360, 1, -1)
    grain = rng.normal(0, 1, (64, 64, 1)).astype(np.float32)
    real, smear = (
        (128 + 20 * values / values[mask > 0].std()).clip(0, 255).astype(np.uint8).repeat(3, axis=2)
        for values in (grain, cv2.GaussianBlur(grain, (0, 0), 4)[:, :, None])
    )
    limits = PaintingLimits([colour_statistics(real, mask)], [fine_detail(real, mask)])

    assert colour_statistics(smear, mask)[3] == pytest.approx(
        colour_statistics(real, mask)[3], rel=0.1
    )  # as much contrast
    assert limits.blur(fine_detail(real, mask), 0.0) == 0
    assert limits.blur(fine_detail(smear, mask), 0.0) > 25
    assert limits.blur(fine_detail(real, mask), fine_detail(real, mask)) == 0
    assert (
        limits.blur(fine_detail(real, mask), 2 * fine_detail(real, mask)) > 20
    )  # a donor in its place would have twice of it
    assert fine_detail(real // 2, mask) == pytest.approx(fine_detail(real, mask), rel=0.05)
    dot = np.zeros_like(mask)
    dot[5, 5] = 1
    assert np.isfinite(fine_detail(real, dot))
