"""Training batches of the painter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.training_batches import PainterBatches, _draw_codes
from defect_synth.product.symmetry import Symmetry

FREE = Symmetry("any", mirror_x=True, mirror_y=True)


@pytest.fixture(scope="module")
def batches(nut_images):
    def propose_mask(defect, normal, seed):
        mask = np.zeros(normal.foreground.shape, np.uint8)
        y, x = np.random.default_rng(seed).integers(10, 44, 2)
        mask[y : y + 9, x : x + 9] = 1
        return mask

    return PainterBatches(*nut_images, PAINT_TINY.model, FREE, propose_mask, seed=0)


def test_batches_are_functions_of_the_iteration(batches):
    one, again, other = (batches.paintings(i, 4, pairs=1, donor_prob=0.5) for i in (5, 5, 6))

    assert torch.equal(one.view, again.view)
    assert torch.equal(one.donor, again.donor)
    assert torch.equal(one.codes.z, again.codes.z)
    assert not torch.equal(one.view, other.view)
    assert torch.equal(batches.real(3, 4).view, batches.real(3, 4).view)


def test_pairs_differ_in_their_codes_only(batches):
    batch = batches.paintings(1, 8, pairs=2, donor_prob=0.5)

    for a, b in ((0, 4), (1, 5)):
        assert torch.equal(batch.view[a], batch.view[b])
        assert torch.equal(batch.mask[a], batch.mask[b])
        assert batch.label[a] == batch.label[b]
        assert not torch.equal(batch.codes.z[a], batch.codes.z[b])
    assert not torch.equal(batch.view[2], batch.view[6])


def test_all_defects_are_shown_equally_often_and_real_views_show_them(batches):
    batch = batches.real(0, 16)

    assert batch.label.bincount().tolist() == [8, 8]
    inside = (batch.view.mean(dim=1, keepdim=True) * batch.mask).sum() / batch.mask.sum()
    assert inside < -0.4  # the fake defects are dark brown on a light nut


def test_codes_do_not_depend_on_the_appearance():
    one, two = (
        _draw_codes(PAINT_TINY.model, torch.Generator().manual_seed(1), wanted)
        for wanted in (torch.zeros(1, 6), torch.ones(1, 6))
    )

    assert torch.equal(one.z, two.z)
    assert torch.equal(one.fine_map, two.fine_map)
