"""Defects of a bank on the given image: which entry, where, and how it is moved there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.place import Place
from defect_synth.augment.settings import Placement
from defect_synth.compositor import pixels
from defect_synth.compositor.area import Area, Box
from defect_synth.compositor.bank import Bank
from defect_synth.compositor.paste import Patch, paste, paste_into
from defect_synth.compositor.placement import Frame, Pose, aligned_pose, fitted, free_pose
from defect_synth.compositor.transfer import Mode
from defect_synth.product.foreground import find_foreground
from defect_synth.product.symmetry import Symmetry, find_symmetry
from defect_synth.samples import Pixels

_WHOLE = 4  # attempts at the size that was asked for; then it shrinks
_SMALL = 128  # recorded objects are looked for on a copy of this size
_ALIGNED = 0.85  # IoU of two objects' outlines above which they stand alike
_LOOKED_AT = 24  # recorded images from which the product's symmetry is found
_HELD = 0.85  # of what lay on the object where it was recorded, so much must lie on the new one


@dataclass(frozen=True)
class _Recorded:
    """What is known of the object that a defect was recorded on."""

    frame: Frame
    image_frame: Frame
    grid: NDArray[np.bool_]
    full: bool
    held: float


class Pasting:
    """Pastes entries of a bank; the settings are `DefectAugmenter`'s."""

    def __init__(self, bank: Bank, scale: tuple[float, float], placement: Placement, mirror: bool, mode: Mode) -> None:
        self.bank, self.scale, self.placement, self.mirror, self.mode = bank, scale, placement, mirror, mode
        self._recorded: dict[int, _Recorded] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What workers get: no caches of images."""
        return {**self.__dict__, "_recorded": {}}

    def __call__(
        self,
        image: NDArray[Any],
        rng: np.random.Generator,
        defect: str,
        severity: float,
        place: Place,
        drawn: Pixels | None,
        at: tuple[float, float] | None,
        attempt: int,
    ) -> tuple[Patch, dict[str, Any]] | None:
        """One attempt: a painted window and what was drawn for it; None if it does not fit or would not be seen."""
        number = self._choose(place.appearance, defect, rng)
        triplet, box = self.bank.triplet(number), self.bank.box(number)
        if drawn is not None:
            affine = fitted(drawn, triplet.mask, rng)
            patch = paste_into(image, triplet, box, affine, drawn, place.allowed, severity=severity, mode=self.mode)
            return patch, {"entry": number}
        recorded = self._object(number)
        pose = self._pose(recorded, box, place, rng, at, 0.85 ** max(0, attempt - _WHOLE + 1))
        if pose is None:
            return None
        held = 0.0 if self.placement == "anywhere" else _HELD * recorded.held
        patch_ = paste(
            image, triplet, box, pose.affine(box), place.allowed, severity=severity, mode=self.mode, held=held
        )
        if patch_ is None:
            return None
        return patch_, {
            "entry": number, "angle": round(pose.angle, 2), "flip": pose.flip, "scale": round(pose.scale, 4),
            "x": round(pose.centre[0], 2), "y": round(pose.centre[1], 2),
        }  # fmt: skip

    def _choose(self, here: NDArray[np.float32], defect: str, rng: np.random.Generator) -> int:
        """An entry of the defect; those recorded on objects that look like this one are likelier."""
        numbers = self.bank.indices(defect)
        distance = np.sqrt(((self.bank.appearance[numbers] - here) ** 2).mean(axis=1))
        # The median distance: near entries are preferred, but of few recorded defects all are used.
        temperature = max(1e-3, float(np.median(distance)))
        weight = np.exp(-(distance - distance.min()) / temperature).astype(np.float64)
        return int(numbers[int(rng.choice(len(numbers), p=weight / weight.sum()))])

    def _pose(
        self,
        recorded: _Recorded,
        box: Box,
        place: Place,
        rng: np.random.Generator,
        at: tuple[float, float] | None,
        shrink: float,
    ) -> Pose | None:
        objects = place.objects
        # An object is measured against an object; where one of the images shows none, image against image.
        both = not recorded.full and not objects.full
        here = objects.frame() if both else Area(objects.shape).frame()
        there = recorded.frame if both else recorded.image_frame
        scale = here[2] / there[2] * float(np.exp(rng.uniform(*np.log(self.scale)))) * shrink
        if at is not None:
            return free_pose(self.symmetry, scale, at, rng)
        if self.placement == "aligned" or (self.placement == "auto" and self._stands_alike(recorded, objects)):
            return aligned_pose(self.symmetry, scale, box, there, here, rng)
        spot = place.allowed.spot(0.4 * scale * min(box[2] - box[0], box[3] - box[1]), rng)
        return None if spot is None else free_pose(self.symmetry, scale, spot, rng)

    @cached_property
    def symmetry(self) -> Symmetry:
        """How the product may be moved, seen from what was recorded."""
        numbers = np.unique(np.linspace(0, len(self.bank) - 1, min(_LOOKED_AT, len(self.bank))).astype(int))
        triplets = [self.bank.triplet(int(number)) for number in numbers]
        found = find_symmetry([t.image if t.clean is None else t.clean for t in triplets])
        return found if self.mirror else replace(found, mirror_x=False, mirror_y=False)

    def _stands_alike(self, recorded: _Recorded, objects: Area) -> bool:
        if not self.symmetry.aligned:
            return False
        if recorded.full or objects.full:
            return recorded.full and objects.full
        here = cv2.resize(objects.grid, (64, 64), interpolation=cv2.INTER_NEAREST) > 0
        return bool((here & recorded.grid).sum() >= _ALIGNED * (here | recorded.grid).sum())

    def _object(self, number: int) -> _Recorded:
        if number not in self._recorded:
            triplet = self.bank.triplet(number)
            looked_at = pixels.thumbnail(triplet.image if triplet.clean is None else triplet.clean, _SMALL)
            found = find_foreground(looked_at)
            area = Area((triplet.mask.shape[0], triplet.mask.shape[1]), found)
            y0, x0, y1, x1 = box = self.bank.box(number)
            mask = triplet.mask[y0:y1, x0:x1] > 0
            held = float((area.weight(box)[mask] > 0.5).mean()) if mask.any() else 1.0
            grid = cv2.resize(area.grid, (64, 64), interpolation=cv2.INTER_NEAREST) > 0
            image_frame = Area(area.shape).frame()
            frame = image_frame if area.full else area.frame()
            self._recorded[number] = _Recorded(frame, image_frame, grid, area.full, held)
        return self._recorded[number]
