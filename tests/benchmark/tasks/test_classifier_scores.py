import numpy as np
import pytest

from defect_synth.benchmark.tasks.classifier_scores import calibration_error, score


def test_figures_equal_those_counted_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    answers = np.array([0, 0, 1, 1, 1, 0])
    probabilities = np.full((6, 4), 0.1, np.float32)
    probabilities[np.arange(6), answers] = 0.7
    scores = score(labels, probabilities, ("a", "b", "c", "d"))

    assert scores.accuracy == pytest.approx(4 / 6)
    assert scores.recall == {"a": pytest.approx(2 / 3), "b": 1.0, "c": 0.0, "d": None}
    assert scores.confusion.tolist() == [[2, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert scores.macro_f1 == pytest.approx((2 / 3 + 4 / 5 + 0) / 3)  # d is not in the test set
    assert scores.predictions.tolist() == answers.tolist()
    assert scores.calibration_error == pytest.approx(0.7 - 4 / 6, abs=1e-6)


def test_calibration_error_weighs_the_gap_of_each_bin_by_its_answers():
    confidence = np.array([0.95, 0.95, 0.55, 1.0], np.float32)
    right = np.array([True, False, True, True])
    # bin 0.9..1.0: 2.9 / 3 said, 2 / 3 right; bin 0.5..0.6: 0.55 said, 1 right
    assert calibration_error(confidence, right) == pytest.approx((0.9 + 0.45) / 4, abs=1e-6)
    assert calibration_error(np.ones(5, np.float32), np.ones(5, bool)) == 0
