"""Figures of image scores, against scikit-learn and counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from defect_synth.benchmark.downstream.detection_scores import detection_scores, order_matrix


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return np.round(rng.normal(1, 1, 60), 1), np.round(rng.normal(0, 1, 40), 1)  # rounded, so that there are ties


def test_auroc_and_average_precision_are_those_of_scikit_learn(scores):
    truth, values = np.repeat([1, 0], [60, 40]), np.concatenate(scores)
    found = detection_scores(*scores)
    assert found.auroc == pytest.approx(roc_auc_score(truth, values))
    assert found.average_precision == pytest.approx(average_precision_score(truth, values))


def test_false_alarms_and_escapes_are_counted():
    defective, good = np.arange(1.0, 21.0), np.array([0.5] * 97 + [1.5, 2.5, 15.5])
    found = detection_scores(defective, good)
    assert found.false_alarms == 20  # 19 of 20 are found from 2.0 on, where 2 of 100 good images are
    assert found.escapes == pytest.approx(2 / 20)  # one good image above 2.5; the defective 1 and 2 are not


def test_a_perfect_detector():
    found = detection_scores(np.array([2.0, 3.0]), np.array([0.0, 1.0]))
    assert found == (1.0, 1.0, 0.0, 0.0)


def test_ties_count_half():
    assert order_matrix(np.array([1.0, 2.0]), np.array([1.0, 3.0])).tolist() == [[0.5, 0.0], [1.0, 0.0]]
