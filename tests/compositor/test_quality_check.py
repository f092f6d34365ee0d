from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest

from defect_synth.compositor.quality_check import (
    QualityLimits,
    RejectionReport,
    border_contact,
    change_inside,
    copy_distance,
    crop_thumbnail,
    mask_area,
)
from defect_synth.product.foreground import find_foreground
from defect_synth.product.pose import learn_poses
from defect_synth.samples import DefectSample, Provenance
from tests.fake_parts import PLACES, draw

SIDE = 64


def sample(*, y=20, x=20, size=12, dark=0, ghost=False, flat=False):
    rng = np.random.default_rng(0)
    clean = np.full((SIDE, SIDE, 3), 250, np.uint8)
    clean[8:56, 8:56] = 120 + rng.integers(-20, 20, (48, 48, 3))
    image, mask = clean.copy(), np.zeros((SIDE, SIDE), np.uint8)
    mask[y : y + size, x : x + size] = 1
    if not flat:
        image[mask > 0] = dark
    if ghost:
        image[40:56, 40:56] = 255 - image[40:56, 40:56]
    return DefectSample(image, mask, "hole", Provenance("x", "part", "hole", 0), clean)


def test_area_and_border_are_shares():
    mask = np.zeros((10, 10), np.uint8)
    mask[0, :5] = 1
    assert mask_area(mask) == 0.05
    assert border_contact(mask) == pytest.approx(5 / 36)


def test_change_is_measured_on_the_defect_and_against_all_change():
    inside, share = change_inside(sample())
    assert inside == pytest.approx(119, abs=8)
    assert share == 1.0
    assert change_inside(sample(ghost=True))[1] < 0.8


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (sample(), None),
        (sample(size=0), "empty"),
        (sample(y=0, x=0, size=64), "too large"),
        (sample(y=0, x=0, size=40), "border"),
        (sample(y=26, x=57, size=5), "off object"),
        (sample(flat=True), "disagreement"),
        (sample(size=4, ghost=True), "disagreement"),
    ],
)
def test_every_fault_has_its_reason(made, reason):
    assert QualityLimits().reject(made) == reason


def test_limits_come_from_real_defects():
    real = [sample(y=16 + 3 * k, x=18 + 2 * k, size=10 + k, dark=10) for k in range(5)]
    limits = QualityLimits.from_real(real)
    assert limits.reject(sample(y=30, x=24, size=13, dark=20)) is None
    assert limits.reject(sample(y=30, x=24, size=13, dark=200)) == "unreal colour"
    assert limits.reject(sample(y=14, x=14, size=34, dark=10)) == "too large"
    assert limits.reject(real[2]) == "near copy"


def test_a_turned_or_mirrored_copy_is_a_copy():
    made = sample(y=26, x=26, size=10)
    real = np.stack([crop_thumbnail(made)])
    turned = DefectSample(
        np.ascontiguousarray(np.rot90(made.image)), np.ascontiguousarray(np.rot90(made.mask)), "hole", made.provenance
    )
    assert copy_distance(made, real) == 0
    assert copy_distance(turned, real) < 0.05  # the crop of an even side is off its centre by a pixel
    assert copy_distance(sample(y=14, x=40, size=10, dark=200), real) > 0.1


def test_too_few_real_defects_make_no_limit_stricter():
    assert QualityLimits.from_real([sample()]) == QualityLimits()
    assert QualityLimits.from_real([sample(size=0)]) == QualityLimits()
    off = sample(y=0, x=0, size=40)
    assert QualityLimits().reject(off) == "border"
    assert QualityLimits.from_real([off]).reject(off) is None


@pytest.mark.parametrize("method", ["real", "bank"])
def test_a_real_defect_is_as_it_is_unless_its_mask_is_empty(method):
    limits = QualityLimits.from_real([sample(y=30 + k, x=30, size=10, dark=10) for k in range(5)])
    origin = Provenance(method, "part", "hole", 0, "", {"recorded_method": "real"} if method == "bank" else {})
    for made in (sample(y=0, x=0, size=64), sample(y=26, x=57, size=5), sample(flat=True), sample(size=1, dark=255)):
        assert limits.reject(made) is not None
        assert limits.reject(replace(made, provenance=origin)) is None
        assert QualityLimits().reject(replace(made, provenance=origin)) is None
    assert limits.reject(replace(sample(size=0), provenance=origin)) == "empty"


@pytest.fixture(scope="module")
def screws():
    """Poses from normal screws, and defects of each kind: of some only a part lies on the screw."""
    normals = [draw("screw", 100 + k, side=128).image for k in range(16)]
    poses = learn_poses([(image, find_foreground(image)) for image in normals])
    assert poses is not None
    return poses, {defect: [on_screw(defect, k) for k in range(8)] for defect in PLACES}


def on_screw(defect, seed, move=0.0):
    """A generated sample without a clean image, whose mask is moved across the screw by a share of its length."""
    drawn = draw("screw", seed, side=128, defect=defect)
    dy, dx = np.array([np.cos(drawn.angle), -np.sin(drawn.angle)]) * move * drawn.length
    mask = cv2.warpAffine(drawn.mask, np.array([[1, 0, dx], [0, 1, dy]]), drawn.mask.shape[::-1])
    return DefectSample(drawn.image, mask, defect, Provenance("x", "screw", defect, seed))


@pytest.mark.parametrize("defect", sorted(PLACES))
def test_limits_never_reject_a_real_defect_that_they_come_from(defect, screws):
    poses, real = screws
    for known in (None, poses):
        limits = QualityLimits.from_real(real[defect], known)
        assert {limits.reject(made) for made in real[defect]} == {"near copy"}


def test_a_defect_may_leave_the_part_as_far_as_real_ones_do(screws):
    poses, real = screws
    limits = {defect: QualityLimits.from_real(real[defect], poses) for defect in real}
    assert limits["thread_side"].overhang > limits["thread_top"].overhang
    for seed in range(20, 26):
        assert limits["bent_tip"].reject(on_screw("bent_tip", seed)) is None
        assert limits["thread_side"].reject(on_screw("thread_side", seed)) is None
        for defect in real:
            assert limits[defect].reject(on_screw(defect, seed, move=0.25)) == "off object"


def test_a_low_acceptance_is_a_warning_that_says_what_to_do(caplog):
    report = RejectionReport()
    for k in range(20):
        report.add("empty" if k else None)
    with caplog.at_level(logging.WARNING):
        report.warn()
    assert "5% of 20 accepted" in caplog.text
    assert "train longer" in caplog.text
