"""How well image scores tell defective images from good ones, in the figures of an inspection line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from defect_synth.benchmark.downstream.segmentation_scores import precision_recall

_RECALL, _FALSE_ALARMS = 0.95, 0.01

Scores = NDArray[np.float64]


class DetectionScores(NamedTuple):
    """Figures of one detector.

    Attributes:
        auroc: Chance that a defective image scores higher than a good one; ties count half.
        average_precision: Area under precision over recall of the images.
        false_alarms: Good images of 1,000 that are called defective where 95 % of the defective ones are found.
        escapes: Share of the defective images that are missed where 1 % of the good ones are called defective.
    """

    auroc: float
    average_precision: float
    false_alarms: float
    escapes: float


def detection_scores(defective: Scores, good: Scores) -> DetectionScores:
    """Figures from the scores of defective images [D] and of good ones [G], both at least one."""
    scores = np.concatenate([defective, good])
    truth = np.arange(len(scores)) < len(defective)
    precision, recall = precision_recall(scores.astype(np.float32), truth)
    needed = np.sort(defective)[::-1][int(np.ceil(_RECALL * len(defective))) - 1]
    allowed = np.sort(good)[::-1][min(len(good) - 1, int(np.floor(_FALSE_ALARMS * len(good))))]
    return DetectionScores(
        auroc=float(order_matrix(defective, good).mean()),
        average_precision=float((np.diff(recall, prepend=0) * precision).sum()),
        false_alarms=1000 * float((good >= needed).mean()),
        escapes=float((defective <= allowed).mean()),
    )


def order_matrix(defective: Scores, good: Scores) -> NDArray[np.float64]:
    """1 where a defective image scores higher than a good one, 0.5 for ties, 0 otherwise: [D, G]."""
    higher = (defective[:, None] > good[None]).astype(np.float64)
    return np.asarray(higher + 0.5 * (defective[:, None] == good[None]), np.float64)
