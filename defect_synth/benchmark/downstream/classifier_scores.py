"""Scores of a classifier's answers on the test images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BINS = 10


class ClassifierScores(NamedTuple):
    """Scores of one set of answers.

    Attributes:
        accuracy: Share of correct answers.
        macro_f1: Mean F1 over the classes that the test set has.
        recall: Class -> share of its images that were recognised; None if the test set has none.
        confusion: int64 [K, K], rows are the truth, columns the answers.
        calibration_error: Expected calibration error: the gap between confidence and accuracy, 0 is best.
        predictions: int64 [N], the answers.
    """

    accuracy: float
    macro_f1: float
    recall: dict[str, float | None]
    confusion: NDArray[np.int64]
    calibration_error: float
    predictions: NDArray[np.int64]


def score(labels: NDArray[np.int64], probabilities: NDArray[np.float32], classes: tuple[str, ...]) -> ClassifierScores:
    """Score the answers of a classifier.

    Args:
        labels: Truth, int64 [N].
        probabilities: float32 [N, K], rows sum to 1; the largest is the answer.
        classes: Names of the labels.
    """
    predictions = probabilities.argmax(1).astype(np.int64)
    count = len(classes)
    confusion = np.bincount(labels * count + predictions, minlength=count**2).reshape(count, count).astype(np.int64)
    right, true, answered = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    f1 = [2 * r / (t + a) for r, t, a in zip(right, true, answered, strict=True) if t]
    return ClassifierScores(
        accuracy=float(right.sum() / true.sum()),
        macro_f1=float(np.mean(f1)),
        recall={name: float(right[i] / true[i]) if true[i] else None for i, name in enumerate(classes)},
        confusion=confusion,
        calibration_error=calibration_error(probabilities.max(1), predictions == labels),
        predictions=predictions,
    )


def calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten equal bins of confidence (Guo et al. 2017).

    Args:
        confidence: Softmax of each answer, float32 [N].
        right: Whether the answer is correct, bool [N].
    """
    edges = np.minimum((np.asarray(confidence, np.float64) * _BINS).astype(np.int64), _BINS - 1)
    gap = np.abs(
        np.bincount(edges, weights=confidence, minlength=_BINS) - np.bincount(edges, weights=right, minlength=_BINS)
    )
    return float(gap.sum() / len(confidence))
