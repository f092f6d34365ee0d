"""New masks from real ones: where they go, how they are shaped, and what they must not be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.product.frame import product_frame
from defect_synth.product.likeness import descriptors, likeness
from defect_synth.product.mask_edits import warp_mask
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.shapes import DefectShape, solidity
from defect_synth.product.symmetry import Symmetry

SIDE = 96
PLACES = ((60, 48), (48, 30), (60, 60), (40, 60))
AXES = ((4, 3), (6, 2), (3, 3), (5, 3))


def disc(radius=38, centre=(48, 48), side=SIDE):
    y, x = np.mgrid[:side, :side]
    return np.hypot(y - centre[0], x - centre[1]) <= radius


def ellipse(centre, axes, angle=0):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, centre, axes, angle, 0, 360, 1, -1)
    return mask


@pytest.fixture(scope="module")
def source():
    product = disc()
    blots = [ellipse((70, 48), (7, 5)), ellipse((48, 25), (8, 4)), ellipse((60, 60), (6, 6))]
    lines = [ellipse((48, 48), (20, 1), 30), ellipse((40, 50), (15, 1), 100)]
    shapes = {"blot": [DefectShape.of(m, product) for m in blots], "line": [DefectShape.of(m, product) for m in lines]}
    return MaskSource(shapes, Symmetry(turns="any", mirror_x=True, mirror_y=True, aligned=True), "nut")


@pytest.mark.parametrize("defect", ["blot", "line"])
def test_masks_lie_inside_the_product_and_are_not_empty(source, defect):
    product = disc(30, (60, 40), 110)

    for seed in range(20):
        mask = source.propose(defect, product, seed)
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
        assert not mask[~product].any()


def test_a_mask_is_a_function_of_its_seed_and_no_two_seeds_agree(source):
    masks = [source.propose("blot", disc(), seed) for seed in range(12)]

    assert all(np.array_equal(m, source.propose("blot", disc(), seed)) for seed, m in enumerate(masks))
    assert len({m.tobytes() for m in masks}) == 12


def test_masks_are_cut_off_by_the_border_of_the_image_only_where_real_ones_are():
    texture = np.ones((SIDE, SIDE), bool)

    def cut_off(*real):
        source = MaskSource(
            {"spot": [DefectShape.of(mask, texture) for mask in real]}, Symmetry(turns="any", aligned=False)
        )
        masks = [source.propose("spot", texture, seed) for seed in range(80)]
        return sum(bool(m[0].any() or m[-1].any() or m[:, 0].any() or m[:, -1].any()) for m in masks)

    inside = [ellipse(centre, axes) for centre, axes in zip(PLACES, ((14, 9), (12, 12), (15, 6), (10, 8)), strict=True)]
    beyond = [ellipse((4, 40), (14, 9)), ellipse((60, 93), (12, 12)), ellipse((90, 5), (15, 10))]

    assert cut_off(*inside) <= 2
    assert cut_off(*beyond) >= 10


def test_masks_are_as_large_as_the_real_ones_though_some_are_cut_and_some_united():
    product = disc()
    small, large = (
        [DefectShape.of(ellipse(c, (a * s, b * s)), product) for c, (a, b) in zip(PLACES, AXES, strict=True)]
        for s in (1, 2)
    )
    source = MaskSource({"large": large, "small": small}, Symmetry(turns="any", mirror_x=True, aligned=False))
    found = {d: np.array([source.propose(d, product, seed).sum() for seed in range(80)]) for d in source.defects}
    for defect, shapes in (("small", small), ("large", large)):
        real = np.array([shape.mask.sum() for shape in shapes])
        assert np.median(found[defect]) == pytest.approx(np.median(real), rel=0.2)
        assert (found[defect] <= 1.3 * real.max()).mean() > 0.97
    # Where size tells two kinds of defect apart, it still does.
    assert (found["small"] < np.median(found["large"])).mean() > 0.97


def test_defects_keep_their_distance_from_the_middle_of_aligned_products():
    ring = [DefectShape.of(ellipse((78, 48), (4, 4)), disc()), DefectShape.of(ellipse((48, 20), (4, 4)), disc())]
    source = MaskSource({"chip": ring}, Symmetry(turns="any", mirror_x=True, aligned=True))

    distances = []
    for seed in range(30):
        y, x, _ = product_frame(source.propose("chip", disc(), seed) > 0)
        distances.append(np.hypot(y - 48, x - 48))

    assert min(distances) > 15  # of the real masks: 30 and 28


def test_masks_keep_off_the_border_where_real_ones_do_and_reach_it_where_they_do():
    product = disc(400, (500, 500), 1000)
    y, x = np.mgrid[:1000, :1000]
    depth = 400 - np.hypot(y - 500, x - 500)
    off, on = ((np.hypot(y - 500 - at, x - 500) < 60).astype(np.uint8) & product.astype(np.uint8) for at in (310, 350))

    def nearest(mask):
        source = MaskSource({"chip": [DefectShape.of(mask, product)]}, Symmetry(turns="any"))
        return min(depth[source.propose("chip", product, seed) > 0].min() for seed in range(20))

    assert nearest(off) > 15
    assert nearest(on) < 3


def test_thin_lines_stay_thin_and_whole(source):
    areas = [int(source.propose("line", disc(), seed).sum()) for seed in range(20)]

    assert min(areas) >= 8
    assert np.median(areas) < 250  # of 4500 pixels of the product


def test_masks_are_no_copies_of_the_real_ones(source):
    copies = 0
    reals = [warp_mask(s.mask, 0, False, 1.0, 0.0, np.random.default_rng(0)) for s in source.shapes["blot"]]
    for seed in range(20):
        mask = source.propose("blot", disc(), seed)
        ys, xs = np.nonzero(mask)
        crop = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
        for real in reals:
            ys, xs = np.nonzero(real)
            own = real[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
            copies += own.shape == crop.shape and np.array_equal(own, crop)
    assert copies == 0


def test_masks_scale_with_the_product(source):
    large = disc(152, (192, 192), 384)

    small_area = np.median([source.propose("blot", disc(), s).sum() for s in range(15)])
    large_area = np.median([source.propose("blot", large, s).sum() for s in range(15)])

    assert 10 < large_area / small_area < 24  # 16: four times the radius


def test_a_product_smaller_than_the_defect_still_gets_a_mask_inside_it(source):
    product = np.zeros((40, 40), bool)
    product[20:23, 18:20] = True

    mask = source.propose("blot", product, 3)

    assert mask.any()
    assert not mask[~product].any()


def test_an_empty_foreground_and_an_unknown_defect_say_what_to_do(source):
    with pytest.raises(DataError, match="foreground is empty"):
        source.propose("blot", np.zeros((8, 8), bool), 0)
    with pytest.raises(UnknownDefectError, match="known: blot, line"):
        source.propose("dent", disc(), 0)


def test_a_large_mask_does_not_give_way_to_small_ones_that_are_easier_to_place():
    product = disc(30, (48, 48))
    large, small = ellipse((48, 48), (24, 12)), ellipse((48, 40), (4, 3))
    shapes = {"blot": [DefectShape.of(large, product), DefectShape.of(small, product)]}
    source = MaskSource(shapes, Symmetry(turns="any", mirror_x=True, mirror_y=True, aligned=False), "nut")
    half = (int(large.sum()) + int(small.sum())) / 4
    share = np.mean([source.propose("blot", product, seed).sum() > half for seed in range(60)])
    assert 0.35 <= share <= 0.65


def test_masks_of_compact_defects_are_compact_and_those_of_scratches_are_not():
    disc, bow = np.zeros((200, 200), np.uint8), np.zeros((200, 200), np.uint8)
    cv2.circle(disc, (90, 110), 14, 1, -1)
    cv2.ellipse(bow, (100, 100), (40, 40), 0, 200, 340, 1, 3)
    product = np.ones((200, 200), bool)
    shapes = {"hole": [DefectShape.of(disc, product)], "scratch": [DefectShape.of(bow, product)]}
    source = MaskSource(shapes, Symmetry("any", True, True, aligned=False), "tile")

    holes = [solidity(source.propose("hole", product, seed)) for seed in range(40)]
    scratches = [solidity(source.propose("scratch", product, seed)) for seed in range(40)]

    assert np.mean(np.array(holes) > 0.85) > 0.9
    assert np.mean(np.array(scratches) < 0.6) > 0.9


def test_real_masks_that_are_alike_may_have_others_like_them():
    """Two discs: a third disc is no copy. One disc: what comes of it is no disc."""
    real = [ellipse((48, 48), (24, 24)), ellipse((46, 50), (25, 25))]
    known = descriptors([DefectShape.of(real[0], disc())])

    def discs(*masks):
        source = MaskSource({"spot": [DefectShape.of(mask, disc()) for mask in masks]}, Symmetry(turns="any"))
        return sum(likeness(source.propose("spot", disc(), seed), known) > 0.85 for seed in range(40))

    assert discs(*real) >= 15
    assert discs(real[0]) <= 3


def test_the_middle_of_a_mask_is_drawn_from_the_weights_and_the_product():
    product = np.zeros((80, 80), bool)
    product[10:70, 10:70] = True
    dot = np.zeros((80, 80), np.uint8)
    dot[38:43, 38:43] = 1
    masks = MaskSource({"dot": [DefectShape.of(dot, product)]}, Symmetry(turns="any", aligned=False))
    weights = np.zeros((8, 8), np.float32)
    weights[:, 6] = 1  # columns 60 to 70
    off_the_product = np.zeros((8, 8), np.float32)
    off_the_product[0] = 1

    for seed in range(20):
        there = masks.propose("dot", product, seed, weights)
        assert 58 <= np.flatnonzero(there.any(axis=0)).mean() < 72
        anywhere = masks.propose("dot", product, seed)
        assert np.array_equal(masks.propose("dot", product, seed, off_the_product), anywhere)
