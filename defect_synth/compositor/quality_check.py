"""Reject generated samples that would be harmful to learn from, and count how many were rejected and why."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import product_frame
from defect_synth.product.pose import PoseFinder, part_without_defect
from defect_synth.product.shapes import overhang
from defect_synth.samples import DefectSample, Pixels, pixels_to_unit

log = logging.getLogger(__name__)

_THUMBNAIL = 16  # side in pixels
_MIN_SAMPLES = 10  # from which an acceptance rate is meaningful
_LOW_ACCEPTANCE = 0.2  # below which a warning says what to do
_OVERHANG = 0.1  # radii beyond one and a half times the real overhang, since outlines are found coarsely
_MIN_REAL = 3  # real defects from which limits can be derived


def mask_area(mask: Pixels) -> float:
    """Share of the image covered by the defect, 0..1."""
    return float(mask.mean())


def border_contact(mask: Pixels) -> float:
    """Share of the border pixels of the image covered by the defect, 0..1."""
    return float(np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean())


def overhang_of(mask: Pixels, foreground: NDArray[np.bool_], radius: float) -> tuple[float, float]:
    """Share of a defect [H, W] on its object [H, W], 0..1, and how far it leaves the object, in radii of it."""
    total = int(mask.sum())
    held = float((foreground & (mask > 0)).sum() / total) if total else 0.0
    return held, overhang(mask, foreground) / radius if total else 0.0


def change_inside(sample: DefectSample) -> tuple[float, float] | None:
    """How much a defect image differs from its clean image, and whether it does so inside the mask.

    Returns:
        Mean change inside the mask, in grey levels, and the share of all change that is inside the mask or within two
        pixels of it, 0..1. None if the sample has no clean image.
    """
    if sample.clean is None:
        return None
    change = np.abs(sample.image.astype(np.float32) - sample.clean).mean(axis=2)
    near = cv2.dilate(sample.mask, np.ones((5, 5), np.uint8)).astype(bool)
    total = float(change.sum())
    inside = float(change[sample.mask > 0].mean()) if sample.mask.any() else 0.0
    return inside, float(change[near].sum()) / total if total > 0 else 0.0


def defect_colour(sample: DefectSample) -> NDArray[np.float64]:
    """Mean colour of the defect, float64 [3], 0..255."""
    inside = sample.mask > 0
    return sample.image[inside].mean(axis=0) if inside.any() else np.zeros(3)


def crop_thumbnail(sample: DefectSample) -> NDArray[np.float32]:
    """A square crop around the defect, reduced to float32 [16, 16, 3], 0..1."""
    x, y, width, height = cv2.boundingRect(sample.mask)
    half = max(4, round(0.65 * max(width, height)))
    cy, cx = y + height // 2, x + width // 2
    padded = cv2.copyMakeBorder(sample.image, half, half, half, half, cv2.BORDER_REFLECT_101)
    crop = padded[cy : cy + 2 * half, cx : cx + 2 * half]
    small: Pixels = cv2.resize(crop, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return pixels_to_unit(small)


def copy_distance(sample: DefectSample, real: NDArray[np.float32]) -> float:
    """Smallest RMS difference of the crop around the defect to real crops [N, 16, 16, 3], over flips and rotations."""
    thumb = crop_thumbnail(sample)
    forms = [np.rot90(side, k) for side in (thumb, thumb[:, ::-1]) for k in range(4)]
    return min(float(np.sqrt(((real - form) ** 2).mean(axis=(1, 2, 3))).min()) for form in forms)


@dataclass(frozen=True)
class QualityLimits:
    """Limits that a sample must keep to. The defaults are for use without real defects; see also `from_real`.

    Attributes:
        area: Smallest and largest `mask_area`.
        border: Largest `border_contact`.
        containment: Smallest share of the defect on the object.
        overhang: Largest distance that the defect may leave the object, in radii of it, see `shapes.overhang`.
        change: Smallest mean change inside the mask, in grey levels, for samples with a clean image.
        agreement: Smallest share of the change that is inside the mask, for samples with a clean image.
        copy_distance: Smallest `copy_distance` to any real crop; 0: not checked.
        colours: Lowest and highest `defect_colour`, [2, 3], or None: not checked.
        real_crops: `crop_thumbnail` of each real defect, [N, 16, 16, 3], or None.
        poses: Finds where the object would be without the defect; None: where it is found in the clean image, or in the
            defect image of samples without one.
    """

    area: tuple[float, float] = (1e-4, 0.5)
    border: float = 0.25
    containment: float = 0.5
    overhang: float = math.inf
    change: float = 2.0
    agreement: float = 0.4
    copy_distance: float = 0.0
    colours: NDArray[np.float64] | None = None
    real_crops: NDArray[np.float32] | None = field(default=None, repr=False)
    poses: PoseFinder | None = field(default=None, repr=False)

    @classmethod
    def from_real(cls, real: Sequence[DefectSample], poses: PoseFinder | None = None) -> QualityLimits:
        """Derive limits from real samples of one defect: their range with a margin, since a few show only part of it.

        From fewer than three samples no limit is derived that is stricter than the defaults.

        Args:
            real: Real samples of one defect.
            poses: Finds how parts lie, so that a bent part is not taken for one that is longer; None: not known.
        """
        real = [sample for sample in real if sample.mask.any()]
        if not real:
            return cls(poses=poses)
        areas = np.array([mask_area(s.mask) for s in real])
        borders = np.array([border_contact(s.mask) for s in real])
        held, off = np.array([_placed(s, poses) for s in real]).T
        if len(real) < _MIN_REAL:
            low, high = cls.area
            return cls(
                area=(min(low, float(areas.min() / 3)), max(high, float(areas.max()))),
                border=max(cls.border, float(borders.max())),
                containment=min(cls.containment, float(held.min())),
                poses=poses,
            )
        colours = np.stack([defect_colour(s) for s in real])
        spread = np.maximum(colours.std(axis=0) * 2, 25.0)
        crops = np.stack([crop_thumbnail(s) for s in real])
        return cls(
            area=(float(areas.min() / 3), float(max(min(0.95, areas.max() * 2.5), areas.max()))),
            border=float(min(1.0, borders.max() * 1.5 + 0.02)),
            containment=float(max(0.0, held.min() - 0.15)),
            overhang=float(off.max() * 1.5 + _OVERHANG),
            colours=np.stack([colours.min(axis=0) - spread, colours.max(axis=0) + spread]),
            copy_distance=0.01,
            real_crops=crops,
            poses=poses,
        )

    def reject(self, sample: DefectSample) -> str | None:
        """The name of the first check that `sample` fails, or None if it passes all of them.

        The limits say what generated samples may look like. A real defect is as it is: only an empty mask is rejected.
        """
        if sample.provenance.is_real:
            return None if sample.mask.any() else "empty"
        area = mask_area(sample.mask)
        if area < self.area[0]:
            return "empty"
        if area > self.area[1]:
            return "too large"
        if border_contact(sample.mask) > self.border:
            return "border"
        held, off = _placed(sample, self.poses)
        if held < self.containment or off > self.overhang:
            return "off object"
        change = change_inside(sample)
        if change is not None and (change[0] < self.change or change[1] < self.agreement):
            return "disagreement"
        if self.colours is not None:
            colour = defect_colour(sample)
            if (colour < self.colours[0]).any() or (colour > self.colours[1]).any():
                return "unreal colour"
        if self.copy_distance > 0 and self.real_crops is not None:
            return "near copy" if copy_distance(sample, self.real_crops) < self.copy_distance else None
        return None


def _placed(sample: DefectSample, poses: PoseFinder | None) -> tuple[float, float]:
    """`overhang_of`, on the clean object where that is known, else on where it would be without the defect."""
    if sample.clean is not None:
        foreground = find_foreground(sample.clean)
        return overhang_of(sample.mask, foreground, product_frame(foreground).radius)
    foreground = find_foreground(sample.image)
    part = part_without_defect(poses, sample.image, foreground, sample.mask)
    if part is not None:
        return overhang_of(sample.mask, part.foreground, part.pose.frame.radius)
    return overhang_of(sample.mask, foreground, product_frame(foreground).radius)


class RejectionReport:
    """How many samples were rejected and why, in total and for each defect.

    Attributes:
        drawn: Number of samples checked.
        rejected: Name of a check -> number of samples that failed it.
        defects: Defect category -> its own report.
    """

    def __init__(self) -> None:
        self.drawn = 0
        self.rejected: Counter[str] = Counter()
        self.defects: dict[str, RejectionReport] = {}

    def add(self, reason: str | None, defect: str | None = None) -> bool:
        """Count one sample with the result of `QualityLimits.reject`; returns whether it passed."""
        if defect is not None:
            self.defects.setdefault(defect, RejectionReport()).add(reason)
        self.drawn += 1
        if reason is not None:
            self.rejected[reason] += 1
        return reason is None

    @property
    def acceptance(self) -> float:
        """Share of the samples that passed, 0..1; 1 before any was checked."""
        return 1 - self.rejected.total() / self.drawn if self.drawn else 1.0

    def summary(self) -> str:
        """One line of text: the acceptance rate, then the share of each reason for rejection."""
        reasons = ", ".join(f"{name} {n / self.drawn:.0%}" for name, n in self.rejected.most_common())
        return f"{self.acceptance:.0%} of {self.drawn} accepted" + (f"; rejected: {reasons}" if reasons else "")

    def warn(self) -> None:
        """Log a warning with advice for each defect of which most or all samples were rejected."""
        for name, report in (self.defects or {"": self}).items():
            prefix = f"{name}: " if name else ""
            if report.drawn and report.rejected.total() == report.drawn:
                log.warning("%sno sample passed the quality check, so it is left out: %s", prefix, report.summary())
            elif report.drawn >= _MIN_SAMPLES and report.acceptance < _LOW_ACCEPTANCE:
                worst = report.rejected.most_common(1)[0][0]
                log.warning(
                    "%sonly %s; most fail at %r: look at the samples, train longer, or lower the truncation",
                    prefix, report.summary(), worst,
                )  # fmt: skip
