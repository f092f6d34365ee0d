"""New masks from real ones: where they go, how they are shaped, and what they must not be."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.product.masks import (
    MaskSource,
    Shape,
    Symmetry,
    find_symmetry,
    likeness,
    pictures,
    place_of,
    solidity,
    warp,
)

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
    shapes = {"blot": [Shape.of(m, product) for m in blots], "line": [Shape.of(m, product) for m in lines]}
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
        source = MaskSource({"spot": [Shape.of(mask, texture) for mask in real]}, Symmetry(turns="any", aligned=False))
        masks = [source.propose("spot", texture, seed) for seed in range(80)]
        return sum(bool(m[0].any() or m[-1].any() or m[:, 0].any() or m[:, -1].any()) for m in masks)

    inside = [ellipse(centre, axes) for centre, axes in zip(PLACES, ((14, 9), (12, 12), (15, 6), (10, 8)), strict=True)]
    beyond = [ellipse((4, 40), (14, 9)), ellipse((60, 93), (12, 12)), ellipse((90, 5), (15, 10))]

    assert cut_off(*inside) <= 2
    assert cut_off(*beyond) >= 10


def test_masks_are_as_large_as_the_real_ones_though_some_are_cut_and_some_united():
    product = disc()
    small, large = (
        [Shape.of(ellipse(c, (a * s, b * s)), product) for c, (a, b) in zip(PLACES, AXES, strict=True)] for s in (1, 2)
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
    ring = [Shape.of(ellipse((78, 48), (4, 4)), disc()), Shape.of(ellipse((48, 20), (4, 4)), disc())]
    source = MaskSource({"chip": ring}, Symmetry(turns="any", mirror_x=True, aligned=True))

    distances = []
    for seed in range(30):
        y, x, _ = place_of(source.propose("chip", disc(), seed) > 0)
        distances.append(np.hypot(y - 48, x - 48))

    assert min(distances) > 15  # the real ones: 30 and 28


def test_masks_keep_off_the_border_where_real_ones_do_and_reach_it_where_they_do():
    product = disc(400, (500, 500), 1000)
    y, x = np.mgrid[:1000, :1000]
    depth = 400 - np.hypot(y - 500, x - 500)
    off, on = ((np.hypot(y - 500 - at, x - 500) < 60).astype(np.uint8) & product.astype(np.uint8) for at in (310, 350))
    assert Shape.of(off, product).margin == pytest.approx(30 / 400, abs=0.01)
    assert Shape.of(on, product).margin < 0.005
    assert Shape.of(on, np.ones_like(product)).margin == 1  # a texture has no border

    def nearest(mask):
        source = MaskSource({"chip": [Shape.of(mask, product)]}, Symmetry(turns="any"))
        return min(depth[source.propose("chip", product, seed) > 0].min() for seed in range(20))

    assert nearest(off) > 15
    assert nearest(on) < 3


def test_thin_lines_stay_thin_and_whole(source):
    areas = [int(source.propose("line", disc(), seed).sum()) for seed in range(20)]

    assert min(areas) >= 8
    assert np.median(areas) < 250  # of 4500 pixels of the product


def test_masks_are_no_copies_of_the_real_ones(source):
    copies = 0
    reals = [warp(s.mask, 0, False, 1.0, 0.0, np.random.default_rng(0)) for s in source._shapes["blot"]]
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


def test_warp_without_bending_turns_about_the_middle():
    bar = np.zeros((5, 21), np.uint8)
    bar[2] = 1

    turned = warp(bar, np.pi / 2, False, 1.0, 0.0, np.random.default_rng(0))

    ys, xs = np.nonzero(turned)
    assert np.ptp(ys) == 20
    assert np.ptp(xs) <= 1
    assert abs(ys.mean() - (turned.shape[0] - 1) / 2) <= 0.5


def noisy(rng, image):
    return (image + rng.normal(0, 4, image.shape)).clip(0, 255).astype(np.uint8)


def test_symmetry_is_found_in_normal_images():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80] - 39.5
    rings = np.repeat((128 + 100 * np.cos(np.hypot(y, x) / 4))[:, :, None], 3, axis=2)
    arrow = np.full((80, 80, 3), 30.0)
    arrow[10:30, 20:60] = 200
    arrow[30:70, 25:35] = 120
    stripes = [np.repeat((128 + 60 * np.sin(y / 2 + rng.uniform(0, 6)))[:, :, None], 3, axis=2) for _ in range(8)]

    round_one = find_symmetry([noisy(rng, rings) for _ in range(8)])
    lopsided = find_symmetry([noisy(rng, arrow) for _ in range(8)])
    grained = find_symmetry([noisy(rng, s) for s in stripes])

    assert round_one.turns == "any"
    assert round_one.mirror_x
    assert round_one.aligned
    assert lopsided.turns == "none"
    assert not lopsided.mirror_x
    assert not lopsided.mirror_y
    assert grained.turns == "half"  # a quarter turn would lay the grain across
    assert not grained.aligned


def test_a_large_mask_does_not_give_way_to_small_ones_that_are_easier_to_place():
    product = disc(30, (48, 48))
    large, small = ellipse((48, 48), (24, 12)), ellipse((48, 40), (4, 3))
    shapes = {"blot": [Shape.of(large, product), Shape.of(small, product)]}
    source = MaskSource(shapes, Symmetry(turns="any", mirror_x=True, mirror_y=True, aligned=False), "nut")
    half = (int(large.sum()) + int(small.sum())) / 4
    share = np.mean([source.propose("blot", product, seed).sum() > half for seed in range(60)])
    assert 0.35 <= share <= 0.65


def test_masks_of_compact_defects_are_compact_and_those_of_scratches_are_not():
    disc, bow = np.zeros((200, 200), np.uint8), np.zeros((200, 200), np.uint8)
    cv2.circle(disc, (90, 110), 14, 1, -1)
    cv2.ellipse(bow, (100, 100), (40, 40), 0, 200, 340, 1, 3)
    product = np.ones((200, 200), bool)
    shapes = {"hole": [Shape.of(disc, product)], "scratch": [Shape.of(bow, product)]}
    source = MaskSource(shapes, Symmetry("any", True, True, aligned=False), "tile")

    holes = [solidity(source.propose("hole", product, seed)) for seed in range(40)]
    scratches = [solidity(source.propose("scratch", product, seed)) for seed in range(40)]

    assert solidity(disc) > 0.95
    assert solidity(bow) < 0.45
    assert np.mean(np.array(holes) > 0.85) > 0.9
    assert np.mean(np.array(scratches) < 0.6) > 0.9


def test_real_masks_that_are_alike_may_have_others_like_them():
    """Two discs: a third disc is no copy. One disc: what comes of it is no disc."""
    real = [ellipse((48, 48), (24, 24)), ellipse((46, 50), (25, 25))]
    known = pictures([Shape.of(real[0], disc())])

    def discs(*masks):
        source = MaskSource({"spot": [Shape.of(mask, disc()) for mask in masks]}, Symmetry(turns="any"))
        return sum(likeness(source.propose("spot", disc(), seed), known) > 0.85 for seed in range(40))

    assert discs(*real) >= 15
    assert discs(real[0]) <= 3
