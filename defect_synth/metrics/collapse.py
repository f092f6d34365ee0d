"""Signs that a generator has collapsed: empty or full masks, noise at the border, no variety.

The usual failure of DFMGAN's second stage is silent: all masks become empty, the mask gets no gradient any more, and
the loss curves look normal (observed in our trainings; not in the paper). The figures need few samples and no features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError
from defect_synth.samples import Pixels

FULL_AREA = 0.95
"""A mask that covers at least this share of the image counts as full."""

_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True)
class MaskStatistics:
    """Statistics of real masks; all values are in 0..1.

    Attributes:
        area_q05: 5 % quantile of the share of the image that a mask covers.
        area_q50: Median of the share.
        area_q95: 95 % quantile of the share.
        empty_share: Share of masks without a defect pixel.
        full_share: Share of masks that cover at least `FULL_AREA`.
        border_contact: Share of masks that touch the border of the image.
        diversity: Mean of 1 - IoU over pairs of masks; 0 for a single mask.
    """

    area_q05: float
    area_q50: float
    area_q95: float
    empty_share: float
    full_share: float
    border_contact: float
    diversity: float

    @classmethod
    def of(cls, masks: Pixels) -> MaskStatistics:
        """Statistics of real masks, uint8 [N, H, W].

        Raises:
            DataError: There is no mask.
        """
        if not len(masks):
            raise DataError("mask statistics need at least 1 real mask, got 0")
        q05, q50, q95 = area_quantiles(masks)
        return cls(
            area_q05=q05,
            area_q50=q50,
            area_q95=q95,
            empty_share=empty_share(masks),
            full_share=full_share(masks),
            border_contact=border_contact(masks),
            diversity=mask_diversity(masks[None]) if len(masks) > 1 else 0.0,
        )


def area_quantiles(masks: Pixels) -> tuple[float, float, float]:
    """5 %, 50 % and 95 % quantiles of the share of the image that masks cover; uint8 [N, H, W]."""
    q05, q50, q95 = np.quantile(_areas(masks), _QUANTILES)
    return float(q05), float(q50), float(q95)


def empty_share(masks: Pixels) -> float:
    """Share of the masks, uint8 [N, H, W], that have no defect pixel."""
    return float((_areas(masks) == 0).mean())


def full_share(masks: Pixels) -> float:
    """Share of the masks, uint8 [N, H, W], that cover at least `FULL_AREA` of the image."""
    return float((_areas(masks) >= FULL_AREA).mean())


def border_contact(masks: Pixels) -> float:
    """Share of the masks, uint8 [N, H, W], with a defect pixel in the first or last row or column."""
    rows = masks[:, [0, -1], :].any(axis=(1, 2))
    columns = masks[:, :, [0, -1]].any(axis=(1, 2))
    return float((rows | columns).mean())


def mask_diversity(masks: Pixels) -> float:
    """Mean of 1 - IoU over pairs of masks of the same object; the IoU of two empty masks is 1.

    Args:
        masks: uint8 [G, K, H, W]: G objects (z_object), K defects (z_defect) each, K at least 2.

    Returns:
        A number from 0 (z_defect changes nothing) to 1 (no two masks overlap).
    """
    _check_groups(masks)
    first, second = np.triu_indices(masks.shape[1], k=1)
    distances = []
    for group in masks:
        flat = (group > 0).reshape(len(group), -1).astype(np.float32)  # exact, since counts stay below 2**24
        both = flat @ flat.T
        area = both.diagonal()
        either = area[:, None] + area[None, :] - both
        iou = np.where(either > 0, both / np.maximum(either, 1), 1.0)
        distances.append(1 - iou[first, second])
    return float(np.mean(distances))


def image_diversity(images: Pixels, masks: Pixels) -> float:
    """Mean absolute pixel difference between two images of the same object, inside the union of their masks.

    A pair of empty masks counts as 0, because there is no defect that could differ.

    Args:
        images: uint8 [G, K, H, W, 3].
        masks: uint8 [G, K, H, W], K at least 2.

    Returns:
        Grey levels, 0..255.
    """
    _check_groups(masks)
    differences = []
    for group, group_masks in zip(images, masks > 0, strict=True):
        for i in range(len(group)):
            for j in range(i + 1, len(group)):
                union = group_masks[i] | group_masks[j]
                difference = np.abs(group[i][union].astype(np.int16) - group[j][union].astype(np.int16))
                differences.append(float(difference.mean()) if difference.size else 0.0)
    return float(np.mean(differences))


def object_diversity(images: Pixels) -> float:
    """Mean absolute pixel difference between images of different objects: 0 where z_object changes nothing.

    Args:
        images: uint8 [G, K, H, W, 3], G at least 2; the first image of each object is compared.

    Returns:
        Grey levels, 0..255.
    """
    first = images[:, 0].astype(np.int16)
    if len(first) < 2:
        raise ValueError(f"object diversity compares at least 2 objects, got {len(first)}")
    pairs = [np.abs(first[i] - first[j]).mean() for i in range(len(first)) for j in range(i + 1, len(first))]
    return float(np.mean(pairs))


def report(images: Pixels, masks: Pixels) -> dict[str, float]:
    """All figures of this module for a batch of samples.

    Args:
        images: uint8 [G, K, H, W, 3]: G objects (z_object), K defects (z_defect) each, both at least 2.
        masks: uint8 [G, K, H, W].

    Returns:
        Finite numbers by name: shares in 0..1, `image_diversity` and `object_diversity` in grey levels.
    """
    if images.ndim != 5 or images.shape[:-1] != masks.shape:
        raise ValueError(
            f"images and masks must be [G, K, H, W, 3] and [G, K, H, W], got {images.shape} and {masks.shape}"
        )
    flat = masks.reshape(-1, *masks.shape[2:])
    q05, q50, q95 = area_quantiles(flat)
    return {
        "mask_area_q05": q05,
        "mask_area_q50": q50,
        "mask_area_q95": q95,
        "empty_share": empty_share(flat),
        "full_share": full_share(flat),
        "border_contact": border_contact(flat),
        "mask_diversity": mask_diversity(masks),
        "image_diversity": image_diversity(images, masks),
        "object_diversity": object_diversity(images),
    }


def warnings(report: Mapping[str, float], real: MaskStatistics) -> tuple[str, ...]:
    """Advice where a report is far from the real masks; empty if nothing looks wrong.

    The bounds are wide, since they are meant to detect collapse and not to judge quality. Where one failure implies
    others, only the first is named: empty masks have no diversity either.

    Args:
        report: Result of `report`.
        real: Statistics of the real masks of the same defect category.
    """
    found = []
    empty, full = report["empty_share"], report["full_share"]
    if report["object_diversity"] < 1:
        found.append(
            f"images of different z_object differ by {report['object_diversity']:.2f} grey levels: the object "
            "generator has collapsed; go back to an earlier snapshot of stage 1 or use more defect-free images"
        )
    if empty > max(0.5, real.empty_share + 0.25):
        found.append(
            f"{empty:.0%} of the masks are empty (real: {real.empty_share:.0%}): the masks have "
            "collapsed and may get no gradient any more; go back to an earlier snapshot and lower "
            "transfer.lambda_match, for instance to 0.2"
        )
        return tuple(found)
    if full > max(0.5, real.full_share + 0.25):
        found.append(
            f"{full:.0%} of the masks cover the whole image (real: {real.full_share:.0%}): the masks "
            "have collapsed and may get no gradient any more; go back to an earlier snapshot and lower "
            "transfer.lambda_match, for instance to 0.2"
        )
        return tuple(found)
    if empty > real.empty_share + 0.1:
        found.append(
            f"{empty:.0%} of the masks are empty (real: {real.empty_share:.0%}): the defect is vanishing; choose an "
            "earlier snapshot, or lower transfer.lambda_match if that is no better"
        )
    if full > real.full_share + 0.1:
        found.append(
            f"{full:.0%} of the masks cover the whole image (real: {real.full_share:.0%}): choose an earlier snapshot, "
            "or lower transfer.lambda_match if that is no better"
        )
    if report["border_contact"] > real.border_contact + 0.3:
        found.append(
            f"{report['border_contact']:.0%} of the masks touch the image border (real: {real.border_contact:.0%}): "
            "probably noise along the edges; choose an earlier snapshot or lower transfer.lambda_match"
        )
    if report["mask_area_q50"] > 3 * real.area_q95:
        found.append(
            f"the median mask covers {report['mask_area_q50']:.1%} of the image (real: {real.area_q50:.1%}): masks "
            "larger than the defect lead to coloured blobs; choose another snapshot, and check that the training masks "
            "are tight"
        )
    elif report["mask_area_q50"] < real.area_q05 / 3:
        found.append(
            f"the median mask covers {report['mask_area_q50']:.2%} of the image (real: {real.area_q50:.2%}): masks are "
            "shrinking and may vanish; choose an earlier snapshot or lower transfer.lambda_match"
        )
    if report["mask_diversity"] < 0.1 * real.diversity:
        found.append(
            f"masks of different z_defect are alike (diversity {report['mask_diversity']:.2f}, real masks "
            f"{real.diversity:.2f}); raise transfer.lambda_mode_seeking or choose an earlier snapshot"
        )
    elif report["image_diversity"] < 1:
        found.append(
            f"defects of different z_defect differ by {report['image_diversity']:.2f} grey levels: z_defect has "
            "little effect; raise transfer.lambda_mode_seeking or choose an earlier snapshot"
        )
    return tuple(found)


def _areas(masks: Pixels) -> NDArray[np.float64]:
    if masks.ndim != 3 or not len(masks):
        raise ValueError(f"masks must be [N, H, W] with N at least 1, got {list(masks.shape)}")
    areas: NDArray[np.float64] = (masks > 0).mean(axis=(1, 2), dtype=np.float64)
    return areas


def _check_groups(masks: Pixels) -> None:
    if masks.ndim != 4 or masks.shape[1] < 2 or not len(masks):
        raise ValueError(f"masks must be [G, K, H, W] with K at least 2, got {list(masks.shape)}")
