"""Perlin defects as DRAEM makes them (Zavrtanik et al., ICCV 2021): patches of noise filled with a foreign texture.

The noise has 2^0 to 2^5 cells down and across, is turned, and is cut at 0.5; inside, the image is blended with a
texture that had three random changes. The publication's textures are those of DTD; ours are procedural unless a folder
is given.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.baselines.classless import ClassLess, Drawn
from defect_synth.baselines.noise import perlin
from defect_synth.baselines.textures import changed, from_files, procedural, read_folder
from defect_synth.samples import Pixels

THRESHOLD = 0.5
"""Noise above it is defect."""
OPACITIES = (0.0, 0.8)
"""Share of the good image that stays visible inside: beta of the publication."""
ANGLES = (-90.0, 90.0)
"""Of the turned noise, degrees."""
_LARGEST_POWER = 5


class Perlin(ClassLess):
    """A class-less `DefectSource`.

    Args:
        category: Object category.
        good: Defect-free images, uint8 [N, H, W, 3].
        textures: A folder of images, such as DTD's; None: procedural ones.

    Raises:
        DataError: No good image, or no textures in the folder.
    """

    def __init__(self, category: str, good: Pixels, textures: Path | None = None) -> None:
        self._files = None if textures is None else read_folder(textures)
        names = "procedural" if self._files is None else " ".join(path.name for path in self._files)
        super().__init__("perlin", category, good, self._fill, names)

    def _fill(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        height, width = image.shape[:2]
        cells, angle, noise = turned_noise((height, width), rng)
        beta = float(rng.uniform(*OPACITIES))
        side = max(height, width)
        texture = procedural(side, rng) if self._files is None else from_files(self._files, side, rng)
        texture = changed(texture, rng)[:height, :width]
        blended = np.rint((1 - beta) * texture.astype(np.float32) + beta * image.astype(np.float32)).astype(np.uint8)
        drawn = {"cells_down": cells[0], "cells_across": cells[1], "angle": angle, "beta": beta}
        return np.where((noise > THRESHOLD)[..., None], blended, image), drawn


def turned_noise(
    shape: tuple[int, int], rng: np.random.Generator
) -> tuple[tuple[int, int], float, NDArray[np.float32]]:
    """Cells down and across, angle, and noise float32 [H, W]; the corners that turning leaves empty are 0."""
    down, across = (min(2 ** int(rng.integers(_LARGEST_POWER + 1)), max(1, side // 2)) for side in shape)
    angle = float(rng.uniform(*ANGLES))
    noise = perlin(shape, (down, across), rng)
    matrix = cv2.getRotationMatrix2D(((shape[1] - 1) / 2, (shape[0] - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(noise, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderValue=0)
    return (down, across), angle, np.asarray(turned, np.float32)
