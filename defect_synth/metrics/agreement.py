"""Does the mask show where the defect is? Measured with the clean image of the same object, and without one."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError
from defect_synth.samples import Pixels

_RESAMPLES = 2000


@dataclass(frozen=True)
class ChangeAgreement:
    """How much images differ from their clean images inside and outside the mask; means over images.

    Attributes:
        inside: Mean absolute change inside the mask, grey levels 0..255.
        outside: The same outside the mask; 0 if the object is untouched there.
        auc: Probability that a pixel inside the mask changed more than one outside: 1 is perfect, 0.5 unrelated.
        low: Lower end of the 95 % bootstrap interval of `auc`.
        high: Upper end of the interval.
        images: Number of images that count, which are those whose mask is neither empty nor full.
    """

    inside: float
    outside: float
    auc: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class ContrastAgreement:
    """Contrast across the outline of the mask, for generated and for real images.

    Attributes:
        generated: Median over generated images, 0..1; 0 means that defects are invisible at their outline.
        real: Median over real images, whose masks are not perfect either.
        ratio: `generated` over `real`.
        low: Lower end of the 95 % bootstrap interval of `ratio`.
        high: Upper end of the interval.
    """

    generated: float
    real: float
    ratio: float
    low: float
    high: float


def mask_change(image: Pixels, clean: Pixels, mask: Pixels) -> tuple[float, float, float]:
    """Mean change inside the mask, mean change outside it, and AUC of one image; NaN if the mask is empty or full.

    Args:
        image: uint8 [H, W, 3].
        clean: uint8 [H, W, 3], the same object without the defect.
        mask: uint8 [H, W] of 0 and 1.
    """
    difference = np.abs(image.astype(np.int16) - clean.astype(np.int16)).sum(axis=2)  # 0..765
    chosen = mask > 0
    if not chosen.any() or chosen.all():
        return float("nan"), float("nan"), float("nan")
    inside = np.bincount(difference[chosen], minlength=766).astype(np.float64)
    outside = np.bincount(difference[~chosen], minlength=766).astype(np.float64)
    smaller = np.cumsum(outside) - outside
    auc = float((inside * (smaller + outside / 2)).sum() / (inside.sum() * outside.sum()))  # ties count half
    return float(difference[chosen].mean() / 3), float(difference[~chosen].mean() / 3), auc


def outline_contrast(image: Pixels, mask: Pixels) -> float:
    """How clearly a band inside the outline differs from a band outside it, 0..1; NaN for an empty or full mask.

    The bands are 1/64 of the image side wide. With d, the distance of their mean colours over the standard deviation
    within the bands, the value is d / (1 + d), so that flat areas do not count without bound. Not in the paper.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] of 0 and 1.
    """
    width = max(1, min(mask.shape) // 64)
    binary = (mask > 0).astype(np.uint8)
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = binary.astype(bool) & (cv2.erode(binary, window, borderValue=1) == 0)
    outer = ~binary.astype(bool) & (cv2.dilate(binary, window, borderValue=0) > 0)
    if not inner.any() or not outer.any():
        return float("nan")
    a, b = image[inner].astype(np.float64), image[outer].astype(np.float64)
    within = np.sqrt((a.var(axis=0).sum() * len(a) + b.var(axis=0).sum() * len(b)) / (len(a) + len(b)))
    d = float(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))) / (float(within) + 1.0)  # 1 grey level of sensor noise
    return d / (1 + d)


def change_agreement(changes: NDArray[np.float64], seed: int = 0) -> ChangeAgreement:
    """Means and bootstrap interval of the results of `mask_change`, float64 [N, 3]; rows with NaN are left out.

    Raises:
        DataError: No image has a mask that is neither empty nor full.
    """
    known = changes[~np.isnan(changes).any(axis=1)]
    if not len(known):
        raise DataError("mask agreement needs at least 1 mask that is neither empty nor full, got 0")
    inside, outside, auc = (float(value) for value in known.mean(axis=0))
    rng = np.random.default_rng(seed)
    drawn = known[rng.integers(0, len(known), (_RESAMPLES, len(known))), 2].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return ChangeAgreement(inside, outside, auc, float(low), float(high), len(known))


def contrast_agreement(generated: NDArray[np.float64], real: NDArray[np.float64], seed: int = 0) -> ContrastAgreement:
    """Medians and bootstrap interval of the results of `outline_contrast`, float64 [N] and [M]; NaN is left out.

    Raises:
        DataError: No generated or no real image is left, or the real images have no contrast at all.
    """
    values = [x[~np.isnan(x)] for x in (generated, real)]
    if not len(values[0]) or not len(values[1]):
        raise DataError(
            "outline contrast needs at least 1 generated and 1 real mask that is neither empty nor full, got "
            f"{len(values[0])} and {len(values[1])}"
        )
    middles = [float(np.median(x)) for x in values]
    if middles[1] == 0:
        raise DataError("the real masks have no contrast across their outline; do they belong to these images?")
    rng = np.random.default_rng(seed)
    drawn = [np.median(x[rng.integers(0, len(x), (_RESAMPLES, len(x)))], axis=1) for x in values]
    low, high = np.quantile(drawn[0] / np.maximum(drawn[1], 1e-6), (0.025, 0.975))
    return ContrastAgreement(middles[0], middles[1], middles[0] / middles[1], float(low), float(high))
