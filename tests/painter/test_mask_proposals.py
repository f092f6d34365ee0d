"""Proposals for the normal images of a training."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.painter.mask_proposals import MaskProposals, measured_shape
from defect_synth.painter.training_images import DefectImage, NormalImage, cut_exemplars
from defect_synth.product.arrangement import find_arrangement
from defect_synth.product.foreground import find_foreground
from defect_synth.product.mask_source import MaskSource
from tests.fake_parts import PLACES, draw


@pytest.fixture(scope="module")
def parts():
    return [draw("screw", seed) for seed in range(24)]


@pytest.fixture(scope="module")
def arrangement(parts):
    return find_arrangement([(part.image, find_foreground(part.image)) for part in parts])


def defects_of(name):
    return [DefectImage(d.image, d.mask) for d in (draw("screw", seed, defect=name) for seed in range(6))]


@pytest.mark.parametrize("name", ["bent_tip", "scratch_head"])
def test_masks_lie_on_the_part_where_the_real_ones_do(parts, arrangement, name):
    items = defects_of(name)
    masks = MaskSource(
        {name: [measured_shape(item, arrangement.poses) for item in items]}, arrangement.symmetry, "screw",
        arrangement.poses.looks_alike,
    )  # fmt: skip
    normals = [NormalImage(part.image, find_foreground(part.image)) for part in parts[:8]]
    propose = MaskProposals(masks, {name: cut_exemplars(items, 64, 192)}, normals, 64, 192, arrangement.poses)
    along = []
    for seed, (part, normal) in enumerate(zip(parts, normals, strict=False)):
        along.append(part.coordinates(*(float(k.mean()) for k in np.nonzero(propose(name, normal, seed))))[0])
    assert np.abs(np.array(along) - PLACES[name][0]).max() < 0.08


def test_a_real_mask_is_measured_on_the_part_as_it_would_be_without_the_defect(arrangement):
    drawn = draw("screw", 3, defect="bent_tip")
    with_pose = measured_shape(DefectImage(drawn.image, drawn.mask), arrangement.poses)
    without = measured_shape(DefectImage(drawn.image, drawn.mask), None)
    assert with_pose.located
    assert with_pose.overhang > without.overhang
    empty = np.full_like(drawn.image, 60)
    assert not measured_shape(DefectImage(empty, drawn.mask), arrangement.poses).located
