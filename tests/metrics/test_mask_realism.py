import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from defect_synth.errors import DataError
from defect_synth.metrics.mask_realism import mask_realism, mask_shapes, wasserstein


def mask(rows, columns, size=32):
    canvas = np.zeros((size, size), np.uint8)
    canvas[slice(*rows), slice(*columns)] = 1
    return canvas


def blobs(count, seed, side=4, low=4, high=24):
    rng = np.random.default_rng(seed)
    corners = rng.integers(low, high, (count, 2))
    sides = rng.integers(side, side + 3, count)
    return np.stack([mask((r, r + s), (c, c + s)) for (r, c), s in zip(corners, sides, strict=True)])


def test_shape_of_literal_masks():
    square, line, empty, corner = (
        mask((8, 16), (4, 12)),
        mask((5, 6), (8, 24)),
        mask((0, 0), (0, 0)),
        mask((0, 1), (0, 1)),
    )
    shapes = mask_shapes(np.stack([square, line, empty, corner]))
    assert shapes[0].tolist() == pytest.approx([-4, 8 / 32, 12 / 32, 0, 0, 0])
    assert shapes[1].tolist() == pytest.approx([-6, 0.5, 5.5 / 32, 4, 0, 0])  # 16 pixels by 1: 2**4
    assert shapes[2].tolist() == [0, 0, 0, 0, 0, 1]
    assert shapes[3].tolist() == pytest.approx([-10, 0.5 / 32, 0.5 / 32, 0, 1, 0])


def test_elongation_does_not_depend_on_direction():
    diagonal = np.eye(32, dtype=np.uint8)
    assert mask_shapes(diagonal[None])[0, 3] == pytest.approx(mask_shapes(diagonal[None, ::-1])[0, 3])
    assert mask_shapes(diagonal[None])[0, 3] > 4


def test_wasserstein_of_literal_samples():
    a, b = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[2.0, 3.0, 1.0], [0.0, 1.0, 1.0]])
    assert wasserstein(a, b).tolist() == pytest.approx([1.5, 2 / 3])


def test_wasserstein_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 7), rng.normal(1, 2, 19)
    assert wasserstein(a[None], b[None])[0] == pytest.approx(wasserstein_distance(a, b), abs=1e-12)


def test_masks_of_the_same_kind_do_not_differ_beyond_chance():
    found = mask_realism(mask_shapes(blobs(12, 0)), mask_shapes(blobs(60, 1)))
    for part in (found.area, found.x, found.y, found.elongation, found.border):
        assert part.value <= part.by_chance
        assert 0 <= part.low <= part.value <= part.high
    assert found.empty_share == 0


def test_larger_displaced_and_border_masks_are_detected():
    real = mask_shapes(blobs(12, 0))
    larger = mask_realism(real, mask_shapes(blobs(60, 1, side=9, low=4, high=18)))
    moved = mask_realism(real, mask_shapes(blobs(60, 1, low=0, high=2)))

    assert larger.area.value > larger.area.by_chance
    assert larger.area.value == pytest.approx(2, abs=0.4)  # sides 4..6 to 9..11: about two octaves of area
    assert larger.elongation.value <= larger.elongation.by_chance
    assert moved.x.value > moved.x.by_chance
    assert moved.y.value > moved.y.by_chance
    assert moved.border.value > moved.border.by_chance
    assert moved.border.value == pytest.approx(0.75, abs=0.1)


def test_empty_masks_are_counted_and_left_out():
    generated = mask_shapes(np.concatenate([blobs(9, 1), np.zeros((3, 32, 32), np.uint8)]))
    with_empty, without = (
        mask_realism(mask_shapes(blobs(6, 0)), generated),
        mask_realism(mask_shapes(blobs(6, 0)), generated[:9]),
    )
    assert with_empty.empty_share == 0.25
    assert with_empty.area == without.area


def test_too_few_masks_are_refused():
    with pytest.raises(DataError, match="at least 2 real and 2 generated masks that are not empty, got 6 and 0"):
        mask_realism(mask_shapes(blobs(6, 0)), mask_shapes(np.zeros((5, 8, 8), np.uint8)))
