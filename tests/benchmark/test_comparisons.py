from __future__ import annotations

import pytest

from defect_synth.benchmark.comparisons import compare_arms, verdict
from defect_synth.benchmark.statistics import PairedDifference
from defect_synth.errors import DataError
from tests.benchmark.fake_results import ARMS, classification_result, write_example


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_example(folder)


def test_the_verdict_is_gain_only_if_the_interval_excludes_zero():
    def paired(low, high):
        return PairedDifference((low + high) / 2, low, high, 0.01, 0.001, 1, 2, 50, 48)

    assert verdict(paired(0.01, 0.2), 0.01, 4) == "gain"
    assert verdict(paired(-0.2, -0.01), 0.01, 4) == "loss"
    assert verdict(paired(-0.01, 0.2), 0.001, 4) == "no difference seen, n = 48"
    assert "gain" not in verdict(paired(0.01, 0.2), 0.08, 4)
    assert verdict(paired(0.0, 0.2), 0.01, 4) == "no difference seen, n = 48"


def test_arms_are_compared_with_real_and_generated_ones_with_standard_augmentation(written):
    results = written
    pairs = [(c.arm, c.against) for c in results.comparisons]
    assert pairs == [
        (ARMS[1], "real"), (ARMS[2], "real"), (f"{ARMS[2]}, 3 : 1", "real"),
        (ARMS[2], ARMS[1]), (f"{ARMS[2]}, 3 : 1", ARMS[1]),
    ]  # fmt: skip
    first = results.comparisons[0]
    assert (first.difference, first.images, first.answers, first.partitions) == (pytest.approx(0.4), 40, 80, 2)
    assert first.verdict == "gain"
    assert first.p_holm >= first.p_value
    assert results.comparisons[1].verdict == "no difference seen, n = 40"


def test_results_with_other_test_images_or_steps_are_not_compared():
    for change in (dict(steps=9), dict(test_names=tuple(f"other/{i}.png" for i in range(40)))):
        pair = [classification_result("real", 20), classification_result(ARMS[1], 20, **change)]
        with pytest.raises(DataError, match="differ in their test images or steps"):
            compare_arms(pair, "classification")
