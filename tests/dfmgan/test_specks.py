"""Specks: small connected parts of a mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.specks import without_specks


def expected(mask: np.ndarray, share: float) -> np.ndarray:
    """OpenCV's connected components with eight neighbours."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = np.zeros_like(mask)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    for part in range(1, count):
        if sizes[part - 1] >= share * sizes.max():
            kept |= labels == part
    return kept


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_the_same_parts_stay_as_by_opencv(share):
    logits = torch.randn(8, 1, 24, 24, generator=torch.Generator().manual_seed(1)) - 0.9
    found = without_specks(logits, 0.1, share)
    for before, after in zip(logits[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        np.testing.assert_array_equal(after >= 0.1, expected(before >= np.float32(0.1), share))


def test_what_stays_and_what_was_no_defect_keeps_its_logits():
    logits = torch.full((1, 1, 8, 8), -2.0)
    logits[0, 0, 1:4, 1:4] = 3.0
    logits[0, 0, 6, 6] = 1.0
    found = without_specks(logits, 0.0, 0.2)
    assert found[0, 0, 6, 6] == -1
    found[0, 0, 6, 6] = 1
    assert torch.equal(found, logits)


def test_a_long_winding_crack_is_one_part():
    mask = np.zeros((16, 16), bool)
    for row in range(0, 16, 2):
        mask[row] = True
        mask[min(row + 1, 15), 0 if row % 4 else 15] = True
    logits = torch.from_numpy(np.where(mask, 1.0, -1.0))[None, None]
    assert torch.equal(without_specks(logits, 0.0, 1.0), logits)


def test_a_logit_on_the_threshold_is_moved_below_it():
    logits = torch.full((1, 1, 6, 6), -1.0)
    logits[0, 0, :2, :2] = 1.0
    logits[0, 0, 5, 5] = 0.5
    assert without_specks(logits, 0.5, 0.5)[0, 0, 5, 5] < 0.5


def test_a_part_with_a_forbidden_cell_goes_however_large_and_the_others_are_measured_without_it():
    logits = torch.full((1, 1, 10, 10), -1.0)
    logits[0, 0, 6:, :] = 1.0  # 40 cells, at the lower edge
    logits[0, 0, 1:3, 1:3] = 1.0  # 4 cells, inside
    never = torch.zeros(10, 10, dtype=torch.bool)
    never[9] = True
    found = without_specks(logits, 0.0, 0.2, never)[0, 0] >= 0
    assert found.sum() == 4
    assert found[1:3, 1:3].all()
    only = logits.clone()
    only[0, 0, 1:3, 1:3] = -1.0
    assert not (without_specks(only, 0.0, 0.2, never) >= 0).any()  # nothing is left: it will be drawn again


def test_nothing_happens_to_an_empty_mask_or_without_a_share():
    empty = torch.full((2, 1, 4, 4), -1.0)
    assert without_specks(empty, 0.0, 0.5) is empty
    some = torch.randn(2, 1, 4, 4)
    assert without_specks(some, 0.0, 0.0) is some


def test_specks_are_left_out_when_sampling_and_never_in_training():
    torch.manual_seed(0)
    network = DFMGAN(TINY.model)
    w_object, w_defect = network.backbone.rows(torch.randn(1, 32)), network.defect_rows(torch.randn(1, 32))
    trunk = network.trunk(w_object)
    # So high that a random network's mask falls into parts.
    network.threshold = threshold = float(network.mask(trunk, w_defect).detach().quantile(0.93))
    plain = network.mask(trunk, w_defect)
    network.specks = 1.0
    assert torch.equal(network.mask(trunk, w_defect), plain)  # gradients are taken
    with torch.no_grad():
        out, _ = network.pair(trunk, w_object, w_defect)
        assert int((out.mask_logits >= threshold).sum()) < int((plain >= threshold).sum())
        assert torch.equal(network.mask(trunk, w_defect), out.mask_logits)
        painted = network.paint(trunk, w_object, w_defect)
        assert torch.equal(painted.mask_logits, out.mask_logits)
        network.specks = 0.0
        assert not torch.equal(network.pair(trunk, w_object, w_defect)[0].image, out.image)  # nor are they painted
