"""Where defects go on products that lie anyhow, and that grey products get grey defects."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import DataError
from defect_synth.painter import Painter
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.donors import Exemplar
from defect_synth.painter.product_assets import is_grey
from defect_synth.painter.surroundings import Surroundings, surroundings_of
from defect_synth.painter.train import train_painter
from defect_synth.product.masks import MaskSource, Shape, Symmetry

SIDE = 128
HEAD, SHANK = 60, 150  # grey levels


def bolt(seed):
    """A rod, one half dark and one half bright, turned anyhow: image, product, and its two halves."""
    rng = np.random.default_rng(seed)
    head, shank = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    cv2.rectangle(head, (14, 46), (63, 82), 1, -1)
    cv2.rectangle(shank, (64, 46), (114, 82), 1, -1)
    turn = cv2.getRotationMatrix2D((63.5, 63.5), float(rng.uniform(0, 360)), 1.0)
    head, shank = (cv2.warpAffine(part, turn, (SIDE, SIDE), flags=cv2.INTER_NEAREST) for part in (head, shank))
    grey = np.full((SIDE, SIDE), 230.0)
    grey[head > 0], grey[shank > 0] = HEAD, SHANK
    image = (grey + rng.normal(0, 2, grey.shape)).clip(0, 255).astype(np.uint8)
    return np.repeat(image[:, :, None], 3, axis=2), (head | shank) > 0, head > 0, shank > 0


def scratched(seed, part):
    """With a bright spot on a part: image and mask."""
    image, _, head, shank = bolt(seed)
    where = head if part == "head" else shank
    depth = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 5)
    places = np.argwhere(depth > 9)
    y, x = places[np.random.default_rng(seed + 1).integers(len(places))]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (int(x), int(y)), (5, 3), 30 * seed, 0, 360, 1, -1)
    return np.where(mask[:, :, None] > 0, np.uint8(250), image), mask


def learnt(parts=("head", "shank"), count=4):
    exemplars = {part: [Exemplar(*scratched(seed, part)) for seed in range(count)] for part in parts}
    return Surroundings(exemplars, [bolt(seed)[:2] for seed in range(100, 104)], side=64, reference=SIDE)


@pytest.mark.parametrize("count", [1, 4])
def test_places_like_those_of_the_real_defects_weigh_most(count):
    source = learnt(count=count)
    image, product, head, shank = bolt(50)

    def share(defect, where):
        weights = cv2.resize(source.weights(defect, image), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        return weights[where].sum() / weights[product].sum()

    assert share("head", head) > 0.8
    assert share("shank", shank) > 0.8


def test_weights_do_not_depend_on_the_size_of_the_image():
    source = learnt()
    image = bolt(50)[0]
    large = cv2.resize(image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)

    small, big = source.weights("head", image), source.weights("head", large)

    assert small.shape == big.shape
    assert np.corrcoef(small.ravel(), big.ravel())[0, 1] > 0.9


def test_what_is_all_alike_has_no_better_places():
    rng = np.random.default_rng(0)
    flat = [rng.integers(100, 140, (96, 96, 3), dtype=np.uint8) for _ in range(8)]
    mask = np.zeros((96, 96), np.uint8)
    mask[40:50, 40:55] = 1
    source = surroundings_of(
        Symmetry(aligned=False), {"spot": [Exemplar(image, mask) for image in flat[:4]]},
        [(image, np.ones((96, 96), bool)) for image in flat[4:]], 64, 96,
    )  # fmt: skip

    assert source.weights("spot", flat[7]).mean() > 0.5


def test_a_defect_that_hides_its_surroundings_says_nothing_of_places():
    image = bolt(0)[0]
    source = Surroundings({"all": [Exemplar(image, np.ones((SIDE, SIDE), np.uint8))]}, [bolt(1)[:2]], 64, SIDE)

    assert source.weights("all", image) is None


def test_aligned_products_need_no_surroundings():
    assert surroundings_of(Symmetry(aligned=True), {}, [bolt(0)[:2]], 64, SIDE) is None
    assert surroundings_of(Symmetry(aligned=False), {}, [], 64, SIDE) is None


def test_the_middle_of_a_mask_is_drawn_from_the_weights_and_the_product():
    product = np.zeros((80, 80), bool)
    product[10:70, 10:70] = True
    dot = np.zeros((80, 80), np.uint8)
    dot[38:43, 38:43] = 1
    masks = MaskSource({"dot": [Shape.of(dot, product)]}, Symmetry(turns="any", aligned=False))
    weights = np.zeros((8, 8), np.float32)
    weights[:, 6] = 1  # columns 60 to 70
    off_the_product = np.zeros((8, 8), np.float32)
    off_the_product[0] = 1

    for seed in range(20):
        there = masks.propose("dot", product, seed, weights)
        assert 58 <= np.flatnonzero(there.any(axis=0)).mean() < 72
        anywhere = masks.propose("dot", product, seed)
        assert np.array_equal(masks.propose("dot", product, seed, off_the_product), anywhere)


def test_greyness_forgives_what_compression_leaves():
    image = bolt(0)[0]
    coloured = image.copy()
    coloured[50:56, 50:56, 0] = 255

    assert is_grey(image)
    assert is_grey((image.astype(int) + np.array([0, 2, 1])).clip(0, 255).astype(np.uint8))
    assert not is_grey(coloured)


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    root = tmp_path_factory.mktemp("bolts") / "bolt"

    def write(folder, name, picture):
        (root / folder).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / folder / name), picture)

    for i in range(8):
        write("train/good", f"{i:03}.png", bolt(200 + i)[0][:, :, 0])  # grey files
    for part in ("head", "shank"):
        for i in range(4):
            image, mask = scratched(i, part)
            write(f"test/{part}", f"{i:03}.png", image[:, :, 0])
            write(f"ground_truth/{part}", f"{i:03}_mask.png", mask * 255)
    table = index(root)
    config = override(PAINT_TINY, {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.008})
    train_painter(table, everything(table, 0.0, 0), config, root.parent / "run")
    return Painter.load(root.parent / "run")


def test_a_painter_puts_defects_where_they_belong(painter):
    assert not painter.symmetry.aligned
    found = {"head": 0.0, "shank": 0.0}
    for defect in found:
        for sample in painter.sample(defect, range(20)):
            level = sample.clean[sample.mask > 0].mean()
            found[defect] += (abs(level - HEAD) < abs(level - SHANK)) / 20

    assert found["head"] > 0.75
    assert found["shank"] < 0.25


def test_a_grey_product_gets_grey_defects(painter):
    for donor_prob in (0.0, 1.0):
        source = Painter.load(painter._path, donor_prob=donor_prob)
        assert all(is_grey(s.image) for s in source.sample("head", range(6)))


def test_a_mask_may_be_asked_for_with_or_without_the_image(painter):
    image, product, _, _ = bolt(300)

    seen, unseen = (painter.propose_mask("head", product, 3, image=i) for i in (image, None))

    assert seen.any()
    assert unseen.any()
    assert np.array_equal(seen, painter.propose_mask("head", product, 3, image))
    with pytest.raises(DataError, match=r"foreground must be \[128, 128\]"):
        painter.propose_mask("head", product[:100], 3, image)
