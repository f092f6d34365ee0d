"""Cutout as a defect: one flat square (DeVries and Taylor, 2017, there an augmentation)."""

from __future__ import annotations

from typing import Literal

import numpy as np

from defect_synth.baselines.classless import ClassLess, Drawn
from defect_synth.errors import ConfigError
from defect_synth.samples import Pixels

SIDES = (0.1, 0.5)
"""Side of the square as a share of the shorter side of the image, drawn uniformly."""


class Cutout(ClassLess):
    """A class-less `DefectSource`: a square of one colour, wholly inside a good image.

    Args:
        category: Object category.
        good: Defect-free images, uint8 [N, H, W, 3].
        fill: Black (`zero`), or the `mean` colour of the image.

    Raises:
        DataError: No good image.
        ConfigError: An unknown fill.
    """

    def __init__(self, category: str, good: Pixels, fill: Literal["zero", "mean"] = "zero") -> None:
        if fill not in ("zero", "mean"):
            raise ConfigError(f"the fill of Cutout must be zero or mean, got {fill!r}")
        self._mean = fill == "mean"
        super().__init__("cutout", category, good, self._cut, fill)

    def _cut(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        height, width = image.shape[:2]
        side = max(1, round(float(rng.uniform(*SIDES)) * min(height, width)))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        colour = np.rint(image.mean((0, 1))).astype(np.uint8) if self._mean else np.uint8(0)
        image[top : top + side, left : left + side] = colour
        return image, {"top": top, "left": left, "side": side}
