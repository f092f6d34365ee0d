import numpy as np
import pytest
import torch

from defect_synth.errors import DataError
from defect_synth.metrics.neighbours import to_kth_neighbour, to_nearest
from defect_synth.metrics.precision_recall import PrecisionRecall, precision_recall
from defect_synth.nn.torchvision_import import ensure_torchvision


def points(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def gaussian(count, seed, shift=0.0):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (count, 4)))


def brute_force(real, generated, k):
    def distance(a, b):
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5

    def radius(i, rows):
        return sorted(distance(rows[i], rows[j]) for j in range(len(rows)) if j != i)[k - 1]

    def covered(x, rows):
        return any(distance(x, rows[i]) <= radius(i, rows) for i in range(len(rows)))

    real, generated = real.tolist(), generated.tolist()
    precision = sum(covered(x, real) for x in generated) / len(generated)
    return precision, sum(covered(x, generated) for x in real) / len(real)


def test_literal_points_on_a_line():
    real = points([0.0], [1.0], [2.0], [3.0])  # radii 1: covers -1..4
    generated = points([3.5], [4.0], [10.0], [10.5])  # radii 0.5, 0.5, 0.5, 0.5
    assert precision_recall(real, generated, k=1) == PrecisionRecall(precision=0.5, recall=0.25, k=1)


@pytest.mark.parametrize("k", [1, 3])
def test_equals_brute_force(k):
    real, generated = gaussian(9, 0), gaussian(14, 1, shift=0.8)
    found = precision_recall(real, generated, k=k)
    assert (found.precision, found.recall) == brute_force(real, generated, k)
    assert 0 < found.precision < 1


def test_agrees_with_torch_fidelity():
    ensure_torchvision()
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    real, generated = gaussian(30, 2), gaussian(50, 3, shift=0.8)
    precision, recall = calculate_precision_recall_full(generated, real, 3)
    found = precision_recall(real, generated, k=3)
    assert (found.precision, found.recall) == pytest.approx((float(precision), float(recall)), abs=1e-6)


def test_copies_of_one_real_image_have_full_precision_and_little_recall():
    real = gaussian(10, 0)
    found = precision_recall(real, real[:1].expand(20, -1))
    assert found.precision == 1
    assert found.recall == 0.1


def test_kth_neighbour_of_literal_points_leaves_out_the_point_itself():
    assert to_kth_neighbour(points([0.0], [1.0], [3.0]), 1).tolist() == [1, 1, 4]
    assert to_kth_neighbour(points([0.0], [1.0], [3.0]), 2).tolist() == [9, 4, 9]


def test_kth_neighbour_of_many_rows_equals_that_of_all_at_once():
    x = gaussian(1100, 0)
    full = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    torch.testing.assert_close(to_kth_neighbour(x, 2).sqrt(), full.sort(dim=1).values[:, 2])


def test_nearest_of_literal_points():
    distance, which = to_nearest(points([0.0, 0.0], [9.0, 9.0]), points([9.0, 6.0], [3.0, 4.0]))
    assert distance.tolist() == [5, 3]
    assert which.tolist() == [1, 0]


def test_too_few_images_are_refused():
    with pytest.raises(DataError, match="k = 3 need at least 4 real and generated images, got 3 and 9"):
        precision_recall(gaussian(3, 0), gaussian(9, 1))
