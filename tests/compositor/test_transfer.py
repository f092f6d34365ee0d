from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.compositor.transfer import choose_mode, match_ring, poisson, soft_edge, transfer

SIDE = 40


def surface(level, contrast=12.0):
    waves = np.sin(np.arange(SIDE) / 2.0)[None, :] * contrast
    return np.repeat((level + waves + np.zeros((SIDE, 1)))[..., None], 3, axis=2).astype(np.float32)


def ring(alpha):
    return (cv2.dilate(alpha, np.ones((9, 9))) > 0) & (alpha == 0)


@pytest.fixture
def mask():
    inside = np.zeros((SIDE, SIDE), np.float32)
    inside[14:26, 14:26] = 1
    return inside


def test_severity_zero_and_no_mask_leave_the_target(mask):
    target, image, clean = surface(120), surface(60), surface(130)
    for mode in ("residual", "replace", "poisson"):
        assert np.array_equal(transfer(target, image, clean, mask, 0.0, mode), target)
        assert np.array_equal(transfer(target, image, clean, mask * 0, 1.0, mode), target)


@pytest.mark.parametrize("mode", ["residual", "replace", "poisson"])
def test_nothing_changes_where_alpha_is_zero(mask, mode):
    target, image = surface(120), surface(130)
    image[17:23, 17:23] = 20
    out = transfer(target, image, surface(130), mask, 1.0, mode)
    assert np.array_equal(out[mask == 0], target[mask == 0])
    assert np.abs(out - target)[mask > 0].mean() > 1


def test_residual_adds_the_difference(mask):
    clean = surface(120)
    image = clean - 40 * mask[..., None]
    out = transfer(surface(120), image, clean, mask, 1.0, "residual")
    assert np.allclose(out, image, atol=1e-3)
    half = transfer(surface(120), image, clean, mask, 0.5, "residual")
    assert np.allclose(half - surface(120), (image - clean) / 2, atol=1e-3)


def test_a_residual_takes_less_from_a_darker_surface(mask):
    clean = surface(180, 0)
    out = transfer(surface(85, 0), clean - 60 * mask[..., None], clean, mask, 1.0, "residual")
    assert 85 - out[20, 20, 0] == pytest.approx(60 * 95 / 190, abs=0.5)


def test_replacing_matches_the_ring_and_keeps_the_contrast_to_it(mask):
    image = surface(200, 0)
    image[mask > 0] = 150
    matched = match_ring(surface(100, 0), image, ring(mask))
    assert matched[5, 5, 0] == pytest.approx(100, abs=0.5)
    assert matched[20, 20, 0] == pytest.approx(50, abs=0.5)


def test_colours_are_compared_on_the_object_only(mask):
    target, image, inside = surface(100, 0), surface(200, 0), np.ones((SIDE, SIDE), np.float32)
    image[mask > 0] = 150
    target[:, 26:], inside[:, 26:] = 255, 0
    out = transfer(target, image, None, mask, 1.0, "replace", inside)
    assert out[20, 20, 0] == pytest.approx(50, abs=0.5)


def test_poisson_of_an_image_with_itself_changes_nothing(mask):
    image = np.round(surface(120))
    assert np.abs(poisson(image, image, mask > 0) - image).max() <= 2


def test_a_stain_is_residual_and_a_hole_replaces(mask):
    clean, inside = surface(130), mask[..., None] > 0
    stain = np.where(inside, clean * 0.7, clean)
    assert choose_mode(surface(120), stain, clean, mask, ring(mask)) == "residual"
    noise = np.random.default_rng(0).normal(30, 8, (SIDE, SIDE, 3)).astype(np.float32)
    assert choose_mode(surface(120), np.where(inside, noise, clean), clean, mask, ring(mask)) == "replace"


def test_without_a_pair_gradients_are_used_on_smooth_surroundings_only():
    big = np.zeros((80, 80), np.float32)
    big[15:65, 15:65] = 1
    flat = np.full((80, 80, 3), 100, np.float32)
    edge = flat.copy()
    edge[:, 40:] = 220
    assert choose_mode(flat, flat + 20, None, big, ring(big)) == "poisson"
    assert choose_mode(edge, flat + 20, None, big, ring(big)) == "replace"
    small = np.zeros((80, 80), np.float32)
    small[35:45, 35:45] = 1
    assert choose_mode(flat, flat + 20, None, small, ring(small)) == "replace"


def test_what_is_pasted_ends_where_the_mask_ends(mask):
    assert np.array_equal(soft_edge(mask, seam=False), mask)
    large = cv2.resize(mask, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    visible = soft_edge(large, seam=False) > 0.05
    meant = large > 0.5
    assert (visible & meant).sum() / (visible | meant).sum() > 0.9


def test_a_seam_is_hidden_inside_the_mask_and_a_crack_keeps_its_contrast(mask):
    alpha = soft_edge(mask, seam=True)
    assert (alpha[mask == 0] == 0).all()
    assert 0.3 < alpha[14, 20] < 0.7
    assert (alpha[16:24, 16:24] == 1).all()
    crack = np.zeros_like(mask)
    crack[20, 5:35] = 1
    assert np.array_equal(soft_edge(crack, seam=True), crack)
