"""Cutout (DeVries and Taylor 2017) as a simulated anomaly: a square of one colour; there it is an augmentation."""

from __future__ import annotations

from typing import Literal

import numpy as np

from defect_synth.baselines.anomaly_source import AnomalySource, Drawn
from defect_synth.errors import ConfigError
from defect_synth.samples import Pixels

SIDES = (0.1, 0.5)
"""Range of the square's side, as a share of the shorter side of the image."""


class Cutout(AnomalySource):
    """A source of normal images with a square of one colour that lies wholly inside.

    Args:
        category: Object category.
        normal: Normal images, uint8 [N, H, W, 3].
        fill: `zero`: black; `mean`: the mean colour of the image.

    Raises:
        DataError: There is no normal image.
        ConfigError: An unknown fill.
    """

    def __init__(self, category: str, normal: Pixels, fill: Literal["zero", "mean"] = "zero") -> None:
        if fill not in ("zero", "mean"):
            raise ConfigError(f"the fill of Cutout must be zero or mean, got {fill!r}")
        super().__init__("cutout", category, normal)
        self._fill = fill

    def settings(self) -> str:
        """The fill."""
        return self._fill

    def simulate(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        """Fill a random square."""
        height, width = image.shape[:2]
        side = max(1, round(float(rng.uniform(*SIDES)) * min(height, width)))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        colour = np.rint(image.mean((0, 1))).astype(np.uint8) if self._fill == "mean" else np.uint8(0)
        image[top : top + side, left : left + side] = colour
        return image, {"top": top, "left": left, "side": side}
