"""Defects of a painter on the given image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.augment.place import Place
from defect_synth.augment.settings import Placement
from defect_synth.compositor import pixels
from defect_synth.compositor.paste import Patch
from defect_synth.compositor.stroke import resized, stroke
from defect_synth.compositor.transfer import Mode
from defect_synth.errors import ConfigError
from defect_synth.samples import DefectPainter, Pixels


class Painting:
    """Has a painter paint; the settings are `DefectAugmenter`'s.

    Raises:
        ConfigError: A setting that only pasting has.
    """

    def __init__(
        self, painter: DefectPainter, scale: tuple[float, float], placement: Placement, mirror: bool, mode: Mode
    ) -> None:
        for name, value, wanted in (("mode", mode, "auto"), ("mirror", mirror, True)):
            if value != wanted:
                raise ConfigError(
                    f"{name}={value!r} is for pasted defects; the source is a painter, which has no {name}: leave it "
                    "out, or record a bank of the painter with `defect-synth bank`"
                )
        if placement == "aligned":
            raise ConfigError(
                "placement='aligned' is for pasted defects; a painter puts its defects where it has learnt that they "
                "are: use placement='auto', or region= to say where"
            )
        self.painter, self.scale = painter, scale

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
        seed = int(rng.integers(2**31))
        inside = place.allowed.weight((0, 0, *place.allowed.shape)) > 0.5
        mask: Pixels | None
        if drawn is not None:
            mask = np.asarray((drawn > 0) & inside, np.uint8)
        elif not inside.any():
            return None
        else:
            looked = None if at is not None else pixels.to_rgb(image)
            mask = self.painter.propose_mask(defect, inside, seed, image=looked)
            mask = mask if at is None else np.asarray(_moved(mask, at) & inside.astype(np.uint8), np.uint8)
            if mask.any():
                mask = resized(mask, float(np.exp(rng.uniform(*np.log(self.scale)))), inside)
        if mask is None or not mask.any():
            return None
        patch = stroke(self.painter, image, mask, defect, seed, severity)
        return None if patch is None else (patch, {"seed": seed})


def _moved(mask: Pixels, at: tuple[float, float]) -> Pixels:
    """`mask` with the middle of its box at (x, y)."""
    x, y, width, height = cv2.boundingRect(mask)
    dx, dy = round(at[0] - (x + (width - 1) / 2)), round(at[1] - (y + (height - 1) / 2))
    return np.asarray(
        cv2.warpAffine(mask, np.array([[1.0, 0, dx], [0, 1, dy]]), mask.shape[::-1], flags=cv2.INTER_NEAREST)
    )
