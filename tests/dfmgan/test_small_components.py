from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.region_painting import paint_pair
from defect_synth.dfmgan.small_components import remove_small_components


def expected(mask: np.ndarray, share: float) -> np.ndarray:
    """OpenCV's connected components with eight neighbours."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    kept = np.zeros_like(mask)
    sizes = stats[1:, cv2.CC_STAT_AREA]
    for component in range(1, count):
        if sizes[component - 1] >= share * sizes.max():
            kept |= labels == component
    return kept


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_the_components_that_stay_are_those_of_opencv(share):
    logits = torch.randn(8, 1, 24, 24, generator=torch.Generator().manual_seed(1)) - 0.9
    found = remove_small_components(logits, 0.1, share)
    for before, after in zip(logits[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        np.testing.assert_array_equal(after >= 0.1, expected(before >= np.float32(0.1), share))


def test_other_cells_keep_their_logits():
    logits = torch.full((1, 1, 8, 8), -2.0)
    logits[0, 0, 1:4, 1:4] = 3.0
    logits[0, 0, 6, 6] = 1.0
    found = remove_small_components(logits, 0.0, 0.2)
    assert found[0, 0, 6, 6] == -1
    found[0, 0, 6, 6] = 1
    assert torch.equal(found, logits)


def test_a_long_winding_crack_is_one_component():
    mask = np.zeros((16, 16), bool)
    for row in range(0, 16, 2):
        mask[row] = True
        mask[min(row + 1, 15), 0 if row % 4 else 15] = True
    logits = torch.from_numpy(np.where(mask, 1.0, -1.0))[None, None]
    assert torch.equal(remove_small_components(logits, 0.0, 1.0), logits)


def test_a_logit_on_the_threshold_is_moved_below_it():
    logits = torch.full((1, 1, 6, 6), -1.0)
    logits[0, 0, :2, :2] = 1.0
    logits[0, 0, 5, 5] = 0.5
    assert remove_small_components(logits, 0.5, 0.5)[0, 0, 5, 5] < 0.5


def test_a_component_with_a_forbidden_cell_is_removed_whatever_its_size_and_the_others_are_measured_without_it():
    logits = torch.full((1, 1, 10, 10), -1.0)
    logits[0, 0, 6:, :] = 1.0  # 40 cells, at the lower edge
    logits[0, 0, 1:3, 1:3] = 1.0  # 4 cells, inside
    forbidden = torch.zeros(10, 10, dtype=torch.bool)
    forbidden[9] = True
    found = remove_small_components(logits, 0.0, 0.2, forbidden)[0, 0] >= 0
    assert found.sum() == 4
    assert found[1:3, 1:3].all()
    only = logits.clone()
    only[0, 0, 1:3, 1:3] = -1.0
    assert not (
        remove_small_components(only, 0.0, 0.2, forbidden) >= 0
    ).any()  # nothing is left: it will be drawn again


def test_an_empty_mask_and_a_share_of_0_change_nothing():
    empty = torch.full((2, 1, 4, 4), -1.0)
    assert remove_small_components(empty, 0.0, 0.5) is empty
    some = torch.randn(2, 1, 4, 4)
    assert remove_small_components(some, 0.0, 0.0) is some


@pytest.fixture
def network():
    """A random generator with a threshold so high that its mask falls into several components."""
    torch.manual_seed(0)
    network = DFMGAN(TINY.model)
    w_object, w_defect = network.backbone.rows(torch.randn(1, 32)), network.defect_rows(torch.randn(1, 32))
    network.threshold = float(network.mask(network.trunk(w_object), w_defect).detach().quantile(0.93))
    return network, w_object.detach(), w_defect.detach()


def test_small_components_are_neither_labelled_nor_painted_where_that_is_asked_for(network):
    network, w_object, w_defect = network
    with torch.no_grad():
        trunk = network.trunk(w_object)
        plain, cleaned = (network.paint(trunk, w_object, w_defect, min_component=share) for share in (0.0, 1.0))
        pair, _ = paint_pair(network, trunk, w_object, w_defect, min_component=1.0)
    area, cleaned_area = (int((out.mask_logits >= network.threshold).sum()) for out in (plain, cleaned))
    assert 0 < cleaned_area < area
    assert torch.equal(cleaned.mask_logits, pair.mask_logits)
    assert not torch.equal(cleaned.image, plain.image)
    torch.testing.assert_close(pair.image, cleaned.image, rtol=1e-3, atol=1e-3)


def test_the_values_of_a_mask_do_not_depend_on_gradients_or_batch_size(network):
    network, w_object, w_defect = network
    with_grad = network(w_object, w_defect)
    with torch.no_grad():
        without = network(w_object, w_defect)
        two = network(w_object.repeat(2, 1, 1), w_defect.repeat(2, 1, 1))
    for k in range(2):
        assert torch.equal(with_grad[k], without[k])
        torch.testing.assert_close(two[k][:1], without[k], rtol=1e-4, atol=1e-4)
