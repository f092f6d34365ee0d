"""Real defects cut out with their surroundings, and the scale of images relative to those of a training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from defect_synth.samples import Pixels


@dataclass(frozen=True, eq=False)
class Exemplar:
    """A real defect with its surroundings.

    Attributes:
        image: uint8 [h, w, 3], RGB.
        mask: uint8 [h, w] in {0, 1}, not empty.
        scale: Pixels of this crop per pixel of the training images; 1 unless the crop was resized.
    """

    image: Pixels
    mask: Pixels
    scale: float = 1.0


def reference_side(images: Sequence[Pixels]) -> int:
    """The longer side of a typical training image, in pixels: the resolution that scales are relative to."""
    return int(np.median([max(image.shape[:2]) for image in images]))


def relative_scale(shape: tuple[int, ...], reference: int) -> float:
    """Pixels of an image of `shape` [H, W, ...] per pixel of training images whose longer side is `reference`."""
    return max(shape[0], shape[1]) / reference
