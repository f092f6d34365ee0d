"""How well score maps find the defects: pixel AP, F1, IoU and PRO."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_LEVELS = 512  # false positive rates at which the PRO curve is evaluated


class SegmentationScores(NamedTuple):
    """Scores over all test pixels, each in 0..1.

    Attributes:
        average_precision: Area under precision over recall of the pixels.
        f1: F1 of the pixels at the given threshold.
        iou: Intersection over union of the pixels at the given threshold.
        best_f1: Highest F1 over all thresholds, as in the literature; it is chosen with knowledge of the test images.
        pro: Per-region overlap, area up to a false positive rate of 0.3, divided by 0.3 (Bergmann et al. 2020).
        per_image: IoU of each image that has a defect, at the given threshold.
    """

    average_precision: float
    f1: float
    iou: float
    best_f1: float
    pro: float
    per_image: tuple[float, ...]


def segmentation_scores(maps: NDArray[np.float32], masks: Pixels, threshold: float) -> SegmentationScores:
    """Score defect maps against the true masks.

    Args:
        maps: Scores, higher where a defect is more likely, float32 [N, H, W].
        masks: Truth, uint8 [N, H, W], 1 on the defect; some may be empty, but not all.
        threshold: A pixel counts as defect if its score is at least this.
    """
    truth = masks.astype(bool)
    found = maps >= threshold
    both, either = (found & truth).sum((1, 2)), (found | truth).sum((1, 2))
    defective = truth.any((1, 2))
    total = int(both.sum())
    precision, recall = precision_recall(maps.ravel(), truth.ravel())
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    return SegmentationScores(
        average_precision=float((np.diff(recall, prepend=0) * precision).sum()),
        f1=2 * total / max(1, int(found.sum()) + int(truth.sum())),
        iou=total / max(1, int(either.sum())),
        best_f1=float(f1.max()),
        pro=per_region_overlap(maps, masks),
        per_image=tuple((both / np.maximum(either, 1))[defective].tolist()),
    )


def precision_recall(
    scores: NDArray[np.float32], truth: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall with each different score as the threshold, in descending order of the thresholds.

    Args:
        scores: Scores, float32 [N].
        truth: Whether each is a defect, bool [N]; at least one is.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.diff(ordered, append=np.float32(-np.inf)))  # the last one of equal scores
    right = np.cumsum(truth[order], dtype=np.float64)[last]
    return right / (last + 1), right / max(1.0, float(truth.sum()))


def per_region_overlap(maps: NDArray[np.float32], masks: Pixels, limit: float = 0.3) -> float:
    """Per-region overlap: the mean share of each connected region that is found, averaged over false positive rates.

    Args:
        maps: Scores, float32 [N, H, W].
        masks: Truth, uint8 [N, H, W], 1 on the defect.
        limit: Highest false positive rate, over all defect-free pixels (Bergmann et al. 2020).
    """
    normal = maps[masks == 0]
    regions = []
    for scores, mask in zip(maps, masks, strict=True):
        count, labels = cv2.connectedComponents(mask, connectivity=8)
        regions += [np.sort(scores[labels == i]) for i in range(1, count)]
    if not regions or normal.size == 0:
        return 0.0
    rates = np.linspace(0, limit, _LEVELS)
    # For each rate, the score that this share of the normal pixels exceeds.
    ordered = np.sort(normal)[::-1]
    thresholds = ordered[np.minimum((rates * normal.size).astype(np.int64), normal.size - 1)]
    overlap = np.mean([1 - np.searchsorted(region, thresholds, side="right") / region.size for region in regions], 0)
    return float(np.trapezoid(overlap, rates) / limit)
