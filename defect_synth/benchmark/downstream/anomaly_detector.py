"""A small anomaly detector trained on good images alone, and thresholds for its scores.

The detector follows PatchCore (Roth et al. 2022): descriptors of image patches, a bank of the descriptors of good
images, and the distance to the nearest of them. Its descriptors are colours and edges at three scales, so that it needs
no weights. It serves to compare thresholds, not to compete with other detectors.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from defect_synth.benchmark.downstream.segmentation_scores import precision_recall
from defect_synth.samples import Pixels

ABOUT = "nearest neighbour over hand-made patch descriptors (colour, edges; three scales), trained on good images only"
_BANK_SIZE = 6000
_TOP_SHARE = 0.01  # the score of an image is the mean over this share of its patches, the most anomalous ones


class PatchDetector:
    """Scores images by the distance of their most anomalous patches to the nearest patch of good images.

    Args:
        good: Defect-free images, uint8 [N, H, W, 3].
        seed: Seed of the choice of patches in the bank.
    """

    def __init__(self, good: Pixels, seed: int = 0) -> None:
        patches = np.concatenate([_describe(image) for image in good])
        self._mean, self._scale = patches.mean(0), patches.std(0) + 1e-6
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(len(patches))[:_BANK_SIZE]
        self._bank = torch.from_numpy((patches[chosen] - self._mean) / self._scale)
        self._squares = (self._bank**2).sum(1)

    def scores(self, images: Pixels) -> NDArray[np.float32]:
        """Anomaly scores, float32 [N], of images uint8 [N, H, W, 3]; higher if a defect is more likely."""
        found = []
        for image in images:
            patches = torch.from_numpy((_describe(image) - self._mean) / self._scale)
            distances = (self._squares - 2 * patches @ self._bank.T).amin(1) + (patches**2).sum(1)
            worst = distances.clamp_min(0).sqrt().topk(max(1, round(_TOP_SHARE * len(patches)))).values
            found.append(float(worst.mean()))
        return np.array(found, np.float32)


class ScoreThreshold(NamedTuple):
    """A threshold, and the F1 of defect images on the scores that it was chosen on."""

    threshold: float
    f1: float


def best_threshold(good: NDArray[np.float32], bad: NDArray[np.float32]) -> ScoreThreshold:
    """The threshold with the highest F1 on these scores, midway between the two scores around it.

    Args:
        good: Scores of defect-free images, [N].
        bad: Scores of images with defects, [M].
    """
    scores = np.concatenate([good, bad]).astype(np.float32)
    truth = np.repeat([False, True], [len(good), len(bad)])
    precision, recall = precision_recall(scores, truth)
    with np.errstate(invalid="ignore"):
        f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
    levels = np.unique(scores)[::-1].astype(np.float64)
    best = int(np.argmax(f1))
    below = levels[best + 1] if best + 1 < len(levels) else levels[best]
    return ScoreThreshold(float((levels[best] + below) / 2), float(f1[best]))


def f1_at(threshold: float, good: NDArray[np.float32], bad: NDArray[np.float32]) -> float:
    """F1 of defect images if scores of at least `threshold` count as defect."""
    right = int((bad >= threshold).sum())
    called = right + int((good >= threshold).sum())
    return 2 * right / max(1, called + len(bad))


def auroc(good: NDArray[np.float32], bad: NDArray[np.float32]) -> float:
    """Area under the ROC curve: how often a defect image scores higher than a good one, ties counting half."""
    ordered = np.sort(good)
    below = np.searchsorted(ordered, bad, "left") + np.searchsorted(ordered, bad, "right")
    return float(below.mean() / 2 / len(good))


def _describe(image: Pixels) -> NDArray[np.float32]:
    """Descriptors float32 [P, 21] of patches on a grid of 32 x 32 places, at least 2 pixels apart."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    grey = cv2.GaussianBlur(lab[..., 0], (0, 0), 0.7)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    edges = np.hypot(across, down)
    maps: list[NDArray[np.float32]] = []
    for sigma in (1.0, 2.0, 4.0):
        smooth = cv2.GaussianBlur(lab, (0, 0), sigma)
        spread = cv2.GaussianBlur(lab**2, (0, 0), sigma) - smooth**2
        maps += [smooth, np.sqrt(np.maximum(spread, 0)), cv2.GaussianBlur(edges, (0, 0), sigma)[..., None]]
    stacked = np.concatenate(maps, 2)
    step = max(2, image.shape[0] // 32)
    return np.ascontiguousarray(stacked[step // 2 :: step, step // 2 :: step].reshape(-1, stacked.shape[2]))
