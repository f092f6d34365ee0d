"""Where defects belong on products that lie at any angle."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.product.exemplar import Exemplar
from defect_synth.product.surroundings import Surroundings, learn_surroundings
from defect_synth.product.symmetry import Symmetry
from tests.fake_bolts import BOLT_SIDE, bolt, scratched_bolt


def learnt(parts=("head", "shank"), count=4):
    exemplars = {part: [Exemplar(*scratched_bolt(seed, part)) for seed in range(count)] for part in parts}
    return Surroundings(exemplars, [bolt(seed)[:2] for seed in range(100, 104)], side=64, reference=BOLT_SIDE)


@pytest.mark.parametrize("count", [1, 4])
def test_places_like_those_of_the_real_defects_weigh_most(count):
    source = learnt(count=count)
    image, product, head, shank = bolt(50)

    def share(defect, where):
        weights = cv2.resize(source.weights(defect, image), (BOLT_SIDE, BOLT_SIDE), interpolation=cv2.INTER_NEAREST)
        return weights[where].sum() / weights[product].sum()

    assert share("head", head) > 0.8
    assert share("shank", shank) > 0.8


def test_weights_do_not_depend_on_the_size_of_the_image():
    source = learnt()
    image = bolt(50)[0]
    large = cv2.resize(image, (2 * BOLT_SIDE, 2 * BOLT_SIDE), interpolation=cv2.INTER_CUBIC)

    small, big = source.weights("head", image), source.weights("head", large)

    assert small.shape == big.shape
    assert np.corrcoef(small.ravel(), big.ravel())[0, 1] > 0.9


def test_what_is_all_alike_has_no_better_places():
    rng = np.random.default_rng(0)
    flat = [rng.integers(100, 140, (96, 96, 3), dtype=np.uint8) for _ in range(8)]
    mask = np.zeros((96, 96), np.uint8)
    mask[40:50, 40:55] = 1
    source = learn_surroundings(
        Symmetry(aligned=False), {"spot": [Exemplar(image, mask) for image in flat[:4]]},
        [(image, np.ones((96, 96), bool)) for image in flat[4:]], 64, 96,
    )  # fmt: skip

    assert source.weights("spot", flat[7]).mean() > 0.5


def test_a_defect_that_hides_its_surroundings_says_nothing_of_places():
    image = bolt(0)[0]
    source = Surroundings(
        {"all": [Exemplar(image, np.ones((BOLT_SIDE, BOLT_SIDE), np.uint8))]}, [bolt(1)[:2]], 64, BOLT_SIDE
    )

    assert source.weights("all", image) is None


def test_aligned_products_need_no_surroundings():
    assert learn_surroundings(Symmetry(aligned=True), {}, [bolt(0)[:2]], 64, BOLT_SIDE) is None
    assert learn_surroundings(Symmetry(aligned=False), {}, [], 64, BOLT_SIDE) is None
