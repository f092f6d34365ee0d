import numpy as np
import pytest
import torch

from defect_synth.benchmark.downstream.classifier_scores import calibration_error, score
from defect_synth.nn.torchvision_import import ensure_torchvision


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


def test_figures_equal_those_of_scikit_learn_and_torchmetrics():
    ensure_torchvision()  # torchmetrics imports it
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score
    from torchmetrics.functional.classification import multiclass_calibration_error

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    probabilities = rng.dirichlet(np.full(4, 0.5), 200).astype(np.float32)
    answers = probabilities.argmax(1)
    scores = score(labels, probabilities, ("a", "b", "c", "d"))

    assert scores.accuracy == pytest.approx(accuracy_score(labels, answers), abs=1e-12)
    assert scores.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro"), abs=1e-12)
    assert list(scores.recall.values()) == pytest.approx(recall_score(labels, answers, average=None), abs=1e-12)
    assert np.array_equal(scores.confusion, confusion_matrix(labels, answers))
    theirs = multiclass_calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), 4, n_bins=10)
    assert scores.calibration_error == pytest.approx(float(theirs), abs=1e-5)
