import numpy as np
import pytest
import torch

from defect_synth.errors import ConfigError, DataError
from defect_synth.metrics.kid import (
    feature_statistics,
    kid,
    mmd2_with_error,
    polynomial_kernel,
    snapshot_score,
    standardise,
)
from defect_synth.nn.torchvision_import import ensure_torchvision


def gaussian(count, seed, shift=0.0, size=16):
    return torch.from_numpy(np.random.default_rng(seed).normal(shift, 1, (count, size)).astype(np.float32))


def brute_force_mmd2(x, y):
    def k(a, b):
        return (sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3

    x, y = x.double().tolist(), y.double().tolist()
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kernel_of_literal_features():
    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    assert polynomial_kernel(x, y).tolist() == [[3.5**3, 1.0]]
    assert polynomial_kernel(x, y, degree=2, gamma=1, coef=2).tolist() == [[49.0, 4.0]]


def test_mmd2_of_literal_features():
    x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]])
    # k(0, 1) = 1; k(1, 2) = 27; the cross terms are k(0, 1) = k(0, 2) = 1, k(1, 1) = 8, k(1, 2) = 27
    assert kid(x, y, subsets=1) == (1 + 27 - 2 * 37 / 4, 0)
    assert snapshot_score(x, y) == 1 - 2 * 37 / 4
    assert snapshot_score(x, y[:1]) == 1 - 2 * 9 / 2


def test_mmd2_agrees_with_plain_loops_for_unequal_counts():
    x, y = gaussian(7, seed=0), gaussian(4, seed=1, shift=0.5)
    assert mmd2_with_error(x, y)[0] == pytest.approx(brute_force_mmd2(x, y), abs=1e-12)


def test_mmd2_agrees_with_torchmetrics():
    ensure_torchvision()
    torchmetrics_kid = pytest.importorskip("torchmetrics.image.kid", exc_type=ImportError)
    x, y = gaussian(20, seed=0).double(), gaussian(20, seed=1, shift=0.3).double()
    assert mmd2_with_error(x, y)[0] == pytest.approx(float(torchmetrics_kid.poly_mmd(x, y)), abs=1e-6)


def test_kid_of_whole_sets_is_mmd2_without_deviation():
    x, y = gaussian(10, seed=0), gaussian(10, seed=1)
    mean, std = kid(x, y, subsets=3)
    assert mean == pytest.approx(brute_force_mmd2(x, y), abs=1e-12)
    assert std == pytest.approx(0, abs=1e-12)


def test_kid_is_unbiased_and_depends_on_its_seed_alone():
    x, y = gaussian(200, seed=0), gaussian(200, seed=1)
    mean, std = kid(x, y, subsets=50, subset_size=50, seed=3)
    assert abs(mean) < 0.1
    assert std > 0
    assert kid(x, y, subsets=50, subset_size=50, seed=3) == (mean, std)
    assert kid(x, y, subsets=50, subset_size=50, seed=4) != (mean, std)
    assert kid(x, y + 1, subsets=50, subset_size=50)[0] > 10 * abs(mean)


def test_kid_uses_as_many_rows_as_the_smaller_set_has():
    x, y = gaussian(5, seed=0), gaussian(40, seed=1)
    mean, std = kid(x, y, subsets=200)
    assert mean == pytest.approx(brute_force_mmd2(x, y), abs=0.25)
    assert std > 0


def test_snapshot_score_ranks_the_equal_distribution_first():
    validation = gaussian(20, seed=0)
    scores = [snapshot_score(gaussian(100, seed=1, shift=shift), validation) for shift in (0, 0.5, 1, 2)]
    assert scores == sorted(scores)
    collapsed = gaussian(1, seed=2).repeat(100, 1)
    assert scores[0] < snapshot_score(collapsed, validation)


def test_snapshot_score_differs_from_mmd2_by_a_constant_of_the_validation_images():
    validation = gaussian(5, seed=0)
    differences = [
        brute_force_mmd2(fake, validation) - snapshot_score(fake, validation)
        for fake in (gaussian(9, seed=1), gaussian(30, seed=2, shift=3))
    ]
    assert differences[0] == pytest.approx(differences[1], abs=1e-9)


def test_standardised_training_features_have_mean_0_and_deviation_1():
    features = gaussian(10, seed=0) * 7 + 3
    standard = standardise(features, *feature_statistics(features))
    torch.testing.assert_close(standard.mean(0), torch.zeros(16).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(standard.std(0), torch.ones(16).double())


def test_an_almost_constant_feature_does_not_outweigh_the_others():
    features = gaussian(10, seed=0)
    features[:, 3] = 5
    features[0, 3] += 1e-6
    mean, std = feature_statistics(features)
    assert float(std[3]) == pytest.approx(0.1 * float(std.median()))
    assert float(standardise(features + 1, mean, std)[:, 3].abs().max()) < 20


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: kid(x[:1], x), DataError, "at least 2 real and 2 generated images, got 1 and 8"),
        (lambda x: kid(x, x, subset_size=9), ConfigError, r"subset_size must be 2\.\.8 .* got 9"),
        (lambda x: kid(x, x, subset_size=1), ConfigError, r"subset_size must be 2\.\.8 .* got 1"),
        (lambda x: kid(x, x, subsets=0), ConfigError, "subsets must be at least 1, got 0"),
        (lambda x: mmd2_with_error(x, x[:2]), DataError, "at least 3 images on each side, got 8 and 2"),
        (lambda x: snapshot_score(x[:1], x), DataError, "at least 2 generated images, got 1"),
        (lambda x: snapshot_score(x, x[:0]), DataError, "at least 1 validation image, got 0"),
        (lambda x: feature_statistics(x[:1]), DataError, "at least 2 training images, got 1"),
        (lambda x: feature_statistics(x[:1].repeat(4, 1)), DataError, "copies of one image"),
        (lambda x: polynomial_kernel(x, x[:, :3]), ValueError, r"got \[8, 16\] and \[8, 3\]"),
        (lambda x: polynomial_kernel(x, x * float("nan")), ValueError, "must be finite"),
    ],
)
def test_sets_that_are_too_small_or_broken_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(gaussian(8, seed=0))


@pytest.mark.parametrize(("subsets", "size"), [(5, 4), (400, 9)])  # small kernels; one kernel for all subsets
def test_both_ways_of_summing_subsets_equal_a_plain_loop_over_them(subsets, size):
    real, fake = gaussian(12, seed=0), gaussian(20, seed=1, shift=0.2)
    rng = np.random.default_rng(3)
    expected = []
    for _ in range(subsets):
        rows = [torch.from_numpy(rng.permutation(len(x))[:size]) for x in (real, fake)]
        expected.append(brute_force_mmd2(real[rows[0]], fake[rows[1]]))

    mean, std = kid(real, fake, subsets=subsets, subset_size=size, seed=3)

    assert mean == pytest.approx(np.mean(expected), abs=1e-12)
    assert std == pytest.approx(np.std(expected), abs=1e-12)


def test_kid_agrees_with_torchmetrics_given_the_same_subsets():
    ensure_torchvision()
    torchmetrics_kid = pytest.importorskip("torchmetrics.image.kid", exc_type=ImportError)
    real, fake = gaussian(40, seed=0, size=64).double(), gaussian(300, seed=1, shift=0.3, size=64).double()
    rng = np.random.default_rng(0)
    expected = []
    for _ in range(50):
        rows = [torch.from_numpy(rng.permutation(len(x))[:30]) for x in (real, fake)]
        expected.append(float(torchmetrics_kid.poly_mmd(real[rows[0]], fake[rows[1]])))

    mean, std = kid(real, fake, subsets=50, subset_size=30, seed=0)

    assert mean == pytest.approx(np.mean(expected), abs=1e-6)
    assert std == pytest.approx(np.std(expected), abs=1e-6)


def test_error_of_mmd2_equals_leaving_out_each_image_in_turn():
    x, y = gaussian(5, seed=0), gaussian(8, seed=1, shift=0.4)

    def variance(leave_out, count):
        values = np.array([leave_out(torch.arange(count) != i) for i in range(count)])
        return (count - 1) / count * ((values - values.mean()) ** 2).sum()

    expected = variance(lambda kept: brute_force_mmd2(x[kept], y), 5) + variance(
        lambda kept: brute_force_mmd2(x, y[kept]), 8
    )
    value, error = mmd2_with_error(x, y)

    assert value == pytest.approx(brute_force_mmd2(x, y), abs=1e-12)
    assert error == pytest.approx(expected**0.5, rel=1e-9)


def test_error_of_mmd2_is_about_the_spread_over_repeated_draws():
    values, errors = zip(
        *(mmd2_with_error(gaussian(12, 2 * i), gaussian(40, 2 * i + 1, 0.5)) for i in range(60)), strict=True
    )
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.35)
