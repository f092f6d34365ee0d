"""Pictures of parts, and the masks that are proposed on them."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.augment.part_pictures import PROPOSED, REAL, PartPictures, PlacedMask, propose_masks
from defect_synth.data.layouts import index
from defect_synth.product.arrangement_check import check_arrangement
from tests.fake_data import save
from tests.fake_parts import PLACES, draw


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts") / "screw"
    for seed in range(12):
        save(folder / "good" / f"{seed:03d}.png", draw("screw", seed).image)
    for name in ("bent_tip", "scratch_head"):
        for seed in range(4):
            one = draw("screw", seed, defect=name)
            save(folder / name / f"{seed:03d}.png", one.image)
            save(folder / name / f"{seed:03d}_mask.png", one.mask * np.uint8(255))
    return check_arrangement(index(folder), for_page=True)


@pytest.fixture(scope="module")
def proposed(check):
    return propose_masks(check)


@pytest.fixture(scope="module")
def pictures(check):
    return PartPictures(check)


def coloured(picture, colour):
    """Where a picture has nearly this hue."""
    channels = picture.astype(int) - np.array(colour)
    return np.abs(channels).sum(axis=2) < 60


def test_masks_are_proposed_at_the_places_of_the_real_ones_on_certain_parts(proposed):
    assert {name: len(masks) for name, masks in proposed.items()} == {"bent_tip": 24, "scratch_head": 24}
    for name, masks in proposed.items():
        along = []
        for part, mask in masks:
            assert mask.shape == part.seen.image.shape[:2]
            drawn = draw("screw", int(part.seen.name.removesuffix(".png").split("/")[1]))
            along.append(drawn.coordinates(*(float(k.mean()) for k in np.nonzero(mask)))[0])
        assert np.abs(np.median(along) - PLACES[name][0]) < 0.03


def test_real_and_proposed_masks_are_drawn_at_the_same_end_of_the_mean_part(check, pictures, proposed):
    assert pictures.columns == 4
    height, width = pictures.mean.shape[:2]
    assert width > 2 * height
    ends = {}
    for name in ("bent_tip", "scratch_head"):
        real = pictures.on_mean([PlacedMask(p.seen.mask, p.part.pose) for p in check.defects[name]], REAL)
        new = pictures.on_mean([PlacedMask(m, p.part.pose) for p, m in proposed[name]], PROPOSED)
        assert real.shape == new.shape == pictures.mean.shape
        grey = pictures.on_mean([], REAL).astype(int)
        both = [np.nonzero(np.abs(drawn - grey).sum(axis=2) > 60)[1].mean() / width for drawn in (real, new)]
        assert abs(both[0] - both[1]) < 0.06
        ends[name] = both[0]
    assert abs(ends["bent_tip"] - ends["scratch_head"]) > 0.6


def test_a_tile_is_the_part_in_the_common_frame_with_the_outline_of_its_mask(check, pictures):
    part = check.defects["scratch_head"][0]
    plain, outlined = pictures.tile(part), pictures.tile(part, part.seen.mask, REAL)
    assert pictures.shows(part, part.seen.mask)
    changed = np.nonzero((plain != outlined).any(axis=2))
    seen = np.nonzero(check.frame.carry_mask(part.seen.mask, part.part.pose, plain.shape[1]))
    assert coloured(outlined, REAL).sum() > 20
    for axis in (0, 1):
        assert seen[axis].min() - 6 <= changed[axis].min()
        assert changed[axis].max() <= seen[axis].max() + 6


def test_a_mask_of_a_few_pixels_is_circled_and_one_beside_the_part_is_said_to_be_outside(check, pictures):
    part = check.normals[0]
    dot = np.zeros(part.seen.image.shape[:2], np.uint8)
    y, x = round(part.part.pose.frame.y), round(part.part.pose.frame.x)
    dot[y, x] = 1
    changed = np.nonzero((pictures.tile(part) != pictures.tile(part, dot, PROPOSED)).any(axis=2))
    assert np.ptp(changed[0]) >= 20
    corner = np.zeros_like(dot)
    corner[0, 0] = 1
    assert pictures.shows(part, dot)
    assert not pictures.shows(part, corner)
