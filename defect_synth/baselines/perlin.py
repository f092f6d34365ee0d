"""Simulated anomalies of DRAEM (Zavrtanik et al., ICCV 2021): areas of Perlin noise, filled with a foreign texture.

The noise has 2^0 to 2^5 cells down and across, is rotated, and is thresholded at 0.5. Where it is above, the image is
blended with a texture to which three random augmentations were applied. The publication takes textures from DTD; here
they are procedural unless a folder is given.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.baselines.anomaly_source import AnomalySource, Drawn
from defect_synth.baselines.perlin_noise import perlin_noise
from defect_synth.baselines.textures import augmented_texture, procedural_texture, texture_files, texture_from
from defect_synth.files import MIB, read_bytes
from defect_synth.samples import Pixels

_MOST_BYTES = 256 * MIB  # of a texture file

THRESHOLD = 0.5
"""The anomaly is where the noise is above this."""
OPACITIES = (0.0, 0.8)
"""Range of beta in the publication: how much of the normal image remains visible inside."""
ANGLES = (-90.0, 90.0)
"""Range of the rotation of the noise, in degrees."""
_LARGEST_POWER = 5


class Perlin(AnomalySource):
    """A source of normal images with areas of a foreign texture.

    Args:
        category: Object category.
        normal: Normal images, uint8 [N, H, W, 3].
        textures: Folder with images of textures, such as DTD; None: procedural textures.

    Raises:
        DataError: There is no normal image, or the folder has no images.
    """

    def __init__(self, category: str, normal: Pixels, textures: Path | None = None) -> None:
        super().__init__("perlin", category, normal)
        self._files = None if textures is None else texture_files(textures)

    def settings(self) -> str:
        """Identifies the textures: `procedural`, or a digest of the files."""
        if self._files is None:
            return "procedural"
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(hashlib.sha256(read_bytes(file, _MOST_BYTES)).digest())
        return digest.hexdigest()

    def simulate(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        """Blend a texture into the image where the noise is above the threshold."""
        height, width = image.shape[:2]
        cells, angle, noise = rotated_noise((height, width), rng)
        beta = float(rng.uniform(*OPACITIES))
        side = max(height, width)
        texture = procedural_texture(side, rng) if self._files is None else texture_from(self._files, side, rng)
        texture = augmented_texture(texture, rng)[:height, :width]
        blended = np.rint((1 - beta) * texture.astype(np.float32) + beta * image.astype(np.float32)).astype(np.uint8)
        drawn = {"cells_down": cells[0], "cells_across": cells[1], "angle": angle, "beta": beta}
        return np.where((noise > THRESHOLD)[..., None], blended, image), drawn


def rotated_noise(
    shape: tuple[int, int], rng: np.random.Generator
) -> tuple[tuple[int, int], float, NDArray[np.float32]]:
    """Perlin noise with a random grid, rotated by a random angle.

    Args:
        shape: Height H and width W in pixels.
        rng: Draws everything.

    Returns:
        Cells down and across; the angle in degrees; the noise, float32 [H, W], 0 in the corners that the rotation
        leaves empty.
    """
    down, across = (min(2 ** int(rng.integers(_LARGEST_POWER + 1)), max(1, side // 2)) for side in shape)
    angle = float(rng.uniform(*ANGLES))
    noise = perlin_noise(shape, (down, across), rng)
    matrix = cv2.getRotationMatrix2D(((shape[1] - 1) / 2, (shape[0] - 1) / 2), angle, 1.0)
    rotated = cv2.warpAffine(noise, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderValue=0)
    return (down, across), angle, np.asarray(rotated, np.float32)
