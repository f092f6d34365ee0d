"""Which samples are thrown away before anybody learns from them, and how many that were."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.foreground import find_foreground
from defect_synth.samples import DefectSample, Pixels, pixels_to_unit

log = logging.getLogger(__name__)

_THUMB = 16
_JUDGED = 10  # samples before an acceptance rate says something
_TOO_FEW = 0.2  # acceptance below which a warning says what to do
_ENOUGH = 3  # real defects needed before a limit is taken from them


def mask_area(mask: Pixels) -> float:
    """Share of the image that is defect."""
    return float(mask.mean())


def border_contact(mask: Pixels) -> float:
    """Share of the image's border that is defect."""
    return float(np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean())


def on_object(mask: Pixels, image: Pixels) -> float:
    """Share of the defect that lies on the object of `image` [H, W, 3]; 1 where it has no background."""
    total = int(mask.sum())
    return float((find_foreground(image) & (mask > 0)).sum() / total) if total else 0.0


def change_inside(sample: DefectSample) -> tuple[float, float] | None:
    """Mean change on the defect, in grey levels, and the share of all change that is on it; None without a pair.

    Two pixels around the mask still count as on it.
    """
    if sample.clean is None:
        return None
    change = np.abs(sample.image.astype(np.float32) - sample.clean).mean(axis=2)
    near = cv2.dilate(sample.mask, np.ones((5, 5), np.uint8)).astype(bool)
    total = float(change.sum())
    inside = float(change[sample.mask > 0].mean()) if sample.mask.any() else 0.0
    return inside, float(change[near].sum()) / total if total > 0 else 0.0


def defect_colour(sample: DefectSample) -> NDArray[np.float64]:
    """Mean colour on the defect, [3], 0..255."""
    inside = sample.mask > 0
    return sample.image[inside].mean(axis=0) if inside.any() else np.zeros(3)


def crop_thumbnail(sample: DefectSample) -> NDArray[np.float32]:
    """The square around the defect as 16x16 pixels, 0..1."""
    x, y, width, height = cv2.boundingRect(sample.mask)
    half = max(4, round(0.65 * max(width, height)))
    cy, cx = y + height // 2, x + width // 2
    padded = cv2.copyMakeBorder(sample.image, half, half, half, half, cv2.BORDER_REFLECT_101)
    crop = padded[cy : cy + 2 * half, cx : cx + 2 * half]
    small: Pixels = cv2.resize(crop, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA)
    return pixels_to_unit(small)


def copy_distance(sample: DefectSample, real: NDArray[np.float32]) -> float:
    """Smallest RMS difference, over flips and quarter turns, of the crop to real crops [N, 16, 16, 3]."""
    thumb = crop_thumbnail(sample)
    forms = [np.rot90(side, k) for side in (thumb, thumb[:, ::-1]) for k in range(4)]
    return min(float(np.sqrt(((real - form) ** 2).mean(axis=(1, 2, 3))).min()) for form in forms)


@dataclass(frozen=True)
class Gates:
    """Limits of every gate: the defaults where no real defects are at hand, `Gates.of` takes them from real ones.

    Attributes:
        area: Smallest and largest share of the image.
        border: Largest share of the image's border.
        containment: Smallest share on the object.
        change: Smallest mean change on the defect, in grey levels (with a clean pair).
        agreement: Smallest share of the change that is on the defect (with a clean pair).
        copy: Smallest distance to any real crop; 0: not asked.
        colours: Lowest and highest mean colour, [2, 3], or None.
        real: Crops of the real defects, or None.
    """

    area: tuple[float, float] = (1e-4, 0.5)
    border: float = 0.25
    containment: float = 0.5
    change: float = 2.0
    agreement: float = 0.4
    copy: float = 0.0
    colours: NDArray[np.float64] | None = None
    real: NDArray[np.float32] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, real: Sequence[DefectSample]) -> Gates:
        """Limits from real defects of one kind: their range with a margin, since a handful shows only part of it."""
        if len(real) < _ENOUGH:
            return cls()
        areas = np.array([mask_area(s.mask) for s in real])
        borders = np.array([border_contact(s.mask) for s in real])
        held = np.array([on_object(s.mask, s.image) for s in real])
        colours = np.stack([defect_colour(s) for s in real])
        spread = np.maximum(colours.std(axis=0) * 2, 25.0)
        crops = np.stack([crop_thumbnail(s) for s in real])
        return cls(
            area=(float(areas.min() / 3), float(min(0.95, areas.max() * 2.5))),
            border=float(min(1.0, borders.max() * 1.5 + 0.02)),
            containment=float(max(0.0, held.min() - 0.15)),
            colours=np.stack([colours.min(axis=0) - spread, colours.max(axis=0) + spread]),
            copy=0.01,
            real=crops,
        )

    def reject(self, sample: DefectSample) -> str | None:
        """The first gate that `sample` does not pass, or None."""
        area = mask_area(sample.mask)
        if area < self.area[0]:
            return "empty"
        if area > self.area[1]:
            return "too large"
        if border_contact(sample.mask) > self.border:
            return "border"
        if on_object(sample.mask, sample.image if sample.clean is None else sample.clean) < self.containment:
            return "off object"
        changed = change_inside(sample)
        if changed is not None and (changed[0] < self.change or changed[1] < self.agreement):
            return "disagreement"
        if self.colours is not None:
            colour = defect_colour(sample)
            if (colour < self.colours[0]).any() or (colour > self.colours[1]).any():
                return "unreal colour"
        if self.copy > 0 and self.real is not None and copy_distance(sample, self.real) < self.copy:
            return "near copy"
        return None


class GateReport:
    """How many samples each gate rejected, in all and of each defect.

    Attributes:
        drawn: Samples seen.
        rejected: Gate -> samples it rejected.
        defects: The same of each defect.
    """

    def __init__(self) -> None:
        self.drawn = 0
        self.rejected: Counter[str] = Counter()
        self.defects: dict[str, GateReport] = {}

    def add(self, gate: str | None, defect: str | None = None) -> bool:
        """Count one sample; True if it passed."""
        if defect is not None:
            self.defects.setdefault(defect, GateReport()).add(gate)
        self.drawn += 1
        if gate is not None:
            self.rejected[gate] += 1
        return gate is None

    @property
    def acceptance(self) -> float:
        """Share of the samples that passed."""
        return 1 - self.rejected.total() / self.drawn if self.drawn else 1.0

    def summary(self) -> str:
        """One line: acceptance, then each gate's share."""
        gates = ", ".join(f"{name} {n / self.drawn:.0%}" for name, n in self.rejected.most_common())
        return f"{self.acceptance:.0%} of {self.drawn} accepted" + (f"; rejected: {gates}" if gates else "")

    def warn(self) -> None:
        """Say what to do where most samples of a defect are thrown away, or all, so that it is missing."""
        for name, report in (self.defects or {"": self}).items():
            of = f"{name}: " if name else ""
            if report.drawn and report.rejected.total() == report.drawn:
                log.warning("%snothing passed the gates, so it is left out: %s", of, report.summary())
            elif report.drawn >= _JUDGED and report.acceptance < _TOO_FEW:
                worst = report.rejected.most_common(1)[0][0]
                log.warning(
                    "%sonly %s; most fail at %r: look at the samples, train longer, or lower the truncation",
                    of, report.summary(), worst,
                )  # fmt: skip
