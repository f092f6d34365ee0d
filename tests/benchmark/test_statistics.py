import math

import numpy as np
import pytest

from defect_synth.benchmark.downstream.detection_scores import order_matrix
from defect_synth.benchmark.statistics import (
    ScoredRun,
    holm,
    mean_over_partitions,
    paired_auroc_difference,
    paired_difference,
    partitions_needed,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(correct, total, low, high):
    assert wilson_interval(correct, total) == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_is_symmetric_and_inside_the_unit_interval():
    assert wilson_interval(48, 48).high == 1.0
    assert wilson_interval(48, 48).low == pytest.approx(1 - wilson_interval(0, 48).high)
    assert wilson_interval(40, 48, confidence=0.5).low > wilson_interval(40, 48, confidence=0.95).low
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson_interval(3, 2)


def test_paired_difference_of_equal_answers_is_exactly_zero():
    answers = np.arange(30) % 3 > 0
    result = paired_difference(answers, answers, seed=0)
    assert result == (0.0, 0.0, 0.0, 0.0, 1.0, 0, 0, 30, 30)


def test_paired_difference_counts_and_matches_the_closed_form():
    # 60 answers of which 12 only B, 3 only A: the bootstrap mean is normal with the sample's own deviation.
    a, b = np.zeros(60, bool), np.zeros(60, bool)
    b[:12] = True
    a[12:15] = True
    result = paired_difference(a, b, seed=1)
    assert (result.only_a, result.only_b, result.total) == (3, 12, 60)
    assert result.difference == pytest.approx(9 / 60)
    # McNemar's exact test: the binomial chance of at most 3 or at least 12 of 15
    exact = 2 * sum(math.comb(15, k) for k in range(4)) / 2**15
    assert result.p_value == pytest.approx(exact, abs=0.008)
    half = 1.96 * math.sqrt((15 / 60 - (9 / 60) ** 2) / 60)
    assert (result.low, result.high) == pytest.approx((0.15 - half, 0.15 + half), abs=0.02)
    assert result == paired_difference(a, b, seed=1)


def test_paired_interval_of_equally_good_arms_contains_zero_at_its_rate():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        a, b = rng.random((2, 48)) < 0.7
        result = paired_difference(a, b, seed=trial, resamples=1000)
        covered += result.low <= 0 <= result.high
    assert 0.90 <= covered / 200 <= 0.99


def test_repeated_images_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 40)) < [[0.5], [0.8]]
    names = [f"{i:03d}.png" for i in range(40)]
    once = paired_difference(a, b, seed=0)
    tenfold = paired_difference(np.tile(a, 10), np.tile(b, 10), images=names * 10, seed=0)
    naive = paired_difference(np.tile(a, 10), np.tile(b, 10), seed=0)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low, abs=0.02)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_an_image_tested_again_counts_once_in_the_p_value():
    a, b = np.zeros(5, bool), np.ones(5, bool)
    names = list("abcde")
    once = paired_difference(a, b, seed=0)
    again = paired_difference(np.tile(a, 8), np.tile(b, 8), images=names * 8, seed=0)
    assert once.p_value == pytest.approx(2 / 2**5, abs=0.01)
    assert again.p_value == pytest.approx(2 / 2**5, abs=0.01)
    assert (again.images, again.total) == (5, 40)


def test_figures_between_0_and_1_are_compared_like_answers():
    rng = np.random.default_rng(0)
    a = rng.random(50)
    result = paired_difference(a, a + 0.1 + 0.01 * rng.standard_normal(50), seed=0)
    assert result.difference == pytest.approx(0.1, abs=0.01)
    assert result.low > 0.09
    assert result.standard_error == pytest.approx(0.01 / math.sqrt(50), rel=0.3)


def test_holm_equals_its_definition():
    # sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, then never falling
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_partitions_needed_follows_from_effect_and_error():
    # 80 % power needs 1.96 + 0.8416 standard errors; with the error falling as the square root of the partitions.
    paired = paired_difference([0] * 100, [1] * 10 + [0] * 90, seed=0)
    expected = 3 * (2.8016 * paired.standard_error / 0.1) ** 2
    assert partitions_needed(paired, 3) == math.ceil(expected)
    assert partitions_needed(paired._replace(difference=0.2), 3) < partitions_needed(paired, 3)
    assert partitions_needed(paired._replace(difference=0.0), 3) is None


def test_unequal_rows_are_refused():
    with pytest.raises(ValueError, match=r"got \[3\] and \[2\]"):
        paired_difference([True] * 3, [True] * 2, seed=0)
    with pytest.raises(ValueError, match="one image name per answer"):
        paired_difference([True] * 3, [True] * 3, images=["a", "b"], seed=0)


def test_mean_over_partitions():
    assert mean_over_partitions([0.8333, 0.8125, 0.8125]) == pytest.approx((0.81943, 0.012009, 3), abs=1e-5)
    assert mean_over_partitions([0.5]) == (0.5, None, 1)


def scored(shift, names, good_names, noise):
    order = order_matrix(noise[0] + shift, noise[1])
    return ScoredRun(order, names, good_names)


def simulated(rng, gain, count=40):
    """Two detectors on the same images: the second separates them by `gain` more."""
    names, good = [f"d{k}" for k in range(count)], [f"g{k}" for k in range(count)]
    common = rng.normal(0, 1, count), rng.normal(0, 1, count)
    own = [(part + rng.normal(0, 0.3, count) for part in common) for _ in range(2)]
    a, b = (tuple(part) for part in own)
    return scored(1.0, names, good, a), scored(1.0 + gain, names, good, b)


def test_intervals_of_auroc_differences_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = [
        (found := paired_auroc_difference([simulated(rng, 0.0)], seed=0, resamples=500)).low <= 0 <= found.high
        for _ in range(100)
    ]
    assert 0.87 <= np.mean(covered) <= 1.0


def test_a_large_gain_of_auroc_is_seen():
    found = paired_auroc_difference([simulated(np.random.default_rng(1), 1.0)], seed=0)
    assert found.low > 0.05
    assert found.p_value < 0.01
    assert found.images == found.total == 40


def test_images_of_several_runs_are_resampled_as_one():
    pair = simulated(np.random.default_rng(2), 0.3)
    once, thrice = (paired_auroc_difference([pair] * runs, seed=0) for runs in (1, 3))
    assert thrice.standard_error == pytest.approx(once.standard_error, rel=1e-9)
    assert (thrice.total, thrice.images) == (120, 40)


def test_the_difference_is_that_of_the_aurocs():
    a, b = simulated(np.random.default_rng(3), 0.5)
    found = paired_auroc_difference([(a, b)], seed=0)
    assert found.difference == pytest.approx(b.order.mean() - a.order.mean())


def test_runs_about_different_images_are_refused():
    a, b = simulated(np.random.default_rng(3), 0.5)
    with pytest.raises(ValueError, match="the same images"):
        paired_auroc_difference([(a, b._replace(good=a.good[::-1]))], seed=0)
