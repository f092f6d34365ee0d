"""Random views of images for training."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.painter.random_views import RandomViews
from defect_synth.product.symmetry import Symmetry

SIDE = 32


def corners():
    """An image that is bright at its top left and red at its bottom, and a mask that covers its bright pixels."""
    image = np.full((SIDE, SIDE, 3), 60, np.uint8)
    image[SIDE // 2 :, :, 0] = 160
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6:14, 6:14] = 1
    image[mask > 0] = 250
    return image, mask


def poses(symmetry, count=60):
    """In which quarter of a view the bright part lies, and in which half the red one."""
    image, mask = corners()
    views, found = RandomViews(SIDE, symmetry, SIDE), set()
    for seed in range(count):
        view, _ = views.around(np.random.default_rng(seed), image, mask, np.ones_like(mask))
        y, x = np.argwhere(view[:, :, 1] > 150).mean(axis=0) > SIDE / 2
        red = np.argwhere(view[:, :, 0].astype(int) - view[:, :, 1] > 50).mean(axis=0) - SIDE / 2
        axis = int(np.abs(red).argmax())
        found.add((bool(y), bool(x), axis, bool(red[axis] > 0)))
    return found


@pytest.mark.parametrize(
    ("symmetry", "count"),
    [
        (Symmetry(), 1),
        (Symmetry(mirror_x=True), 2),
        (Symmetry("half"), 2),
        (Symmetry("quarter"), 4),
        (Symmetry("quarter", mirror_x=True), 8),
    ],
)
def test_views_are_turned_and_mirrored_as_the_product_allows(symmetry, count):
    assert len(poses(symmetry)) == count


def test_image_and_mask_are_moved_alike():
    image, mask = corners()
    views = RandomViews(SIDE, Symmetry("any", mirror_x=True, mirror_y=True), SIDE)

    for seed in range(30):
        view, seen = views.around(np.random.default_rng(seed), image, mask, mask)

        bright = view[:, :, 1] > 150
        assert (bright & (seen > 0)).sum() / (bright | (seen > 0)).sum() > 0.8


def test_views_anywhere_are_functions_of_the_generator_and_have_the_side():
    image = np.random.default_rng(0).integers(0, 256, (90, 50, 3), dtype=np.uint8)
    views = RandomViews(SIDE, Symmetry(), 90)

    one, again, other = (views.anywhere(np.random.default_rng(seed), image) for seed in (1, 1, 2))

    assert one.shape == (SIDE, SIDE, 3)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
