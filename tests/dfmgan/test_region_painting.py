from __future__ import annotations

import torch

from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.region_painting import Box, boxes, paint_pair


def mask_with(size, *places):
    mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
    for y, x in places:
        mask[0, 0, y, x] = True
    return mask


def test_boxes_cover_the_masks_of_every_resolution_and_distant_components_have_their_own():
    found = boxes([mask_with(32, (1, 2), (30, 30)), mask_with(64, (2, 4), (40, 8))])
    assert found == [Box(0, 4, 0, 4), Box(20, 24, 4, 8), Box(28, 32, 28, 32)]


def test_an_empty_mask_has_no_box_and_a_full_one_has_the_whole_map():
    assert boxes([mask_with(32)]) == []
    assert boxes([torch.ones(1, 1, 32, 32, dtype=torch.bool)]) == [Box(0, 32, 0, 32)]


def test_a_change_stays_in_its_box_after_a_block_and_can_be_computed_from_the_box_read(rng):
    torch.manual_seed(0)
    block = DFMGAN(TINY.model).backbone.synthesis.block(32)
    x = torch.randn(1, 32, 16, 16, generator=rng)
    ws = [torch.randn(1, 32, generator=rng) for _ in range(2)]
    for box in (Box(6, 9, 7, 8), Box(0, 2, 13, 16), Box(5, 6, 0, 16)):
        changed = x.clone()
        box.of(changed).add_(1)
        with torch.no_grad():
            before, after = (block.features(features, ws, [None, None]) for features in (x, changed))
            reach = box.after_block(32)
            outside = (after - before).abs()
            reach.of(outside).zero_()
            assert not outside.any()
            read = reach.read_by_block(16)
            wrote = read.doubled()
            noise = [wrote.of(layer.noise_const[None, None]) for layer in (block.up, block.conv)]
            part = reach.inside(wrote).of(block.features(read.of(changed), ws, noise))
        torch.testing.assert_close(part, reach.of(after), rtol=1e-4, atol=1e-5)


def test_a_pair_is_the_defect_image_and_the_object_without(rng):
    torch.manual_seed(1)
    generator = DFMGAN(TINY.model)
    w_object = torch.randn(1, TINY.model.backbone.num_ws, 32, generator=rng)
    w_defect = torch.randn(1, TINY.model.num_defect_ws, 32, generator=rng)
    trunk = generator.trunk(w_object)
    painted, clean = paint_pair(generator, trunk, w_object, w_defect)
    with torch.no_grad():
        assert torch.equal(clean, generator.paint(trunk, w_object, None).image)
        whole = generator(w_object, w_defect)
    assert 0 < (painted.mask_logits >= 0).float().mean() < 1
    torch.testing.assert_close(painted.image, whole.image, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(painted.mask_logits, whole.mask_logits, rtol=1e-4, atol=1e-4)
