"""CutPaste (Li et al., CVPR 2021): a patch of a normal image, with jittered colours, pasted elsewhere into the image.

There are two variants: a rectangle, and a scar, which is a thin rotated rectangle. The publication gives the size of
scars in pixels of 256 px images; here it is scaled to the image.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.baselines.anomaly_source import AnomalySource, Drawn
from defect_synth.errors import ConfigError
from defect_synth.samples import Pixels

AREAS = (0.02, 0.15)
"""Range of a patch's area, as a share of the image."""
ASPECTS = ((0.3, 1.0), (1.0, 3.3))
"""Ranges of height over width of a patch; one of them is drawn first, then the value within it."""
SCAR_WIDTHS = (2.0, 16.0)
"""Range of a scar's width, in pixels of a 256 px image."""
SCAR_LENGTHS = (10.0, 25.0)
"""Range of a scar's length, in pixels of a 256 px image."""
SCAR_ANGLES = (-45.0, 45.0)
"""Range of a scar's angle, in degrees."""
JITTER = 0.1
"""Largest relative change of brightness, contrast and saturation, and largest shift of hue as a share of its circle."""
_PUBLISHED_SIDE = 256
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class CutPaste(AnomalySource):
    """A source of normal images with a patch or a scar.

    Args:
        category: Object category.
        normal: Normal images, uint8 [N, H, W, 3].
        variant: `patch` or `scar`.

    Raises:
        DataError: There is no normal image.
        ConfigError: An unknown variant.
    """

    def __init__(self, category: str, normal: Pixels, variant: Literal["patch", "scar"] = "patch") -> None:
        if variant not in ("patch", "scar"):
            raise ConfigError(f"the variant of CutPaste must be patch or scar, got {variant!r}")
        super().__init__(f"cutpaste_{variant}", category, normal)
        self._variant = variant

    def settings(self) -> str:
        """The variant."""
        return self._variant

    def simulate(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        """Paste a patch or a scar."""
        return _patch(image, rng) if self._variant == "patch" else _scar(image, rng)


def _patch(image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
    height, width = image.shape[:2]
    area = float(rng.uniform(*AREAS))
    aspect = float(rng.uniform(*ASPECTS[int(rng.integers(2))]))
    # Clipping is for the rounding only: an area of 15 % at an aspect of 3.3 has a longer side of 0.7 of the image.
    tall = int(np.clip(round((area * height * width * aspect) ** 0.5), 1, height))
    wide = int(np.clip(round((area * height * width / aspect) ** 0.5), 1, width))
    (top, left), (to_top, to_left) = _two_places(rng, (height - tall, width - wide))
    piece = jittered(image[top : top + tall, left : left + wide], rng)
    image[to_top : to_top + tall, to_left : to_left + wide] = piece
    return image, {"area": area, "aspect": aspect, "height": tall, "width": wide, "top": to_top, "left": to_left}


def _scar(image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
    height, width = image.shape[:2]
    scale = min(height, width) / _PUBLISHED_SIDE
    wide, tall = float(rng.uniform(*SCAR_WIDTHS)), float(rng.uniform(*SCAR_LENGTHS))
    angle = float(rng.uniform(*SCAR_ANGLES))
    across, along = max(1, round(wide * scale)), max(2, round(tall * scale))
    top, left = int(rng.integers(height - along + 1)), int(rng.integers(width - across + 1))
    piece = jittered(image[top : top + along, left : left + across], rng)
    rotated, inside = _rotated(piece, angle)
    rows, columns = inside.shape
    to_top, to_left = int(rng.integers(max(1, height - rows + 1))), int(rng.integers(max(1, width - columns + 1)))
    window = image[to_top : to_top + rows, to_left : to_left + columns]
    seen = inside[: window.shape[0], : window.shape[1]]
    window[seen] = rotated[: window.shape[0], : window.shape[1]][seen]
    return image, {"width": wide, "length": tall, "angle": angle, "top": to_top, "left": to_left}


def _rotated(piece: Pixels, angle: float) -> tuple[Pixels, NDArray[np.bool_]]:
    """A rotated rectangle and its bounding box.

    Args:
        piece: uint8 [h, w, 3].
        angle: Degrees, anticlockwise.

    Returns:
        The bounding box with the rotated piece, uint8 [H, W, 3], and where the piece is in it, bool [H, W].
    """
    tall, wide = piece.shape[:2]
    cosine, sine = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    columns, rows = int(np.ceil(wide * cosine + tall * sine)), int(np.ceil(wide * sine + tall * cosine))
    matrix = cv2.getRotationMatrix2D(((wide - 1) / 2, (tall - 1) / 2), angle, 1.0)
    matrix[:, 2] += ((columns - wide) / 2, (rows - tall) / 2)
    frame = (columns, rows)
    rotated = cv2.warpAffine(piece, matrix, frame, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    solid = np.full((tall, wide), 255, np.uint8)
    inside = cv2.warpAffine(solid, matrix, frame, flags=cv2.INTER_LINEAR, borderValue=0) > 127
    return np.asarray(rotated, np.uint8).reshape(rows, columns, 3), np.asarray(inside)


def _two_places(rng: np.random.Generator, last: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Top left corners (y, x) of where a patch is cut and where it is pasted; two different ones if there are two.

    Args:
        rng: Draws both.
        last: The largest y and x.
    """
    drawn = rng.integers(0, (last[0] + 1, last[1] + 1), size=(2, 2))
    if (drawn[0] == drawn[1]).all():
        drawn[1] = (drawn[1] + (1, 1)) % (last[0] + 1, last[1] + 1)
    return (int(drawn[0, 0]), int(drawn[0, 1])), (int(drawn[1, 0]), int(drawn[1, 1]))


def jittered(piece: Pixels, rng: np.random.Generator) -> Pixels:
    """Brightness, contrast, saturation and hue of an image [H, W, 3], uint8, changed by at most `JITTER`."""
    brightness, contrast, saturation = rng.uniform(1 - JITTER, 1 + JITTER, 3)
    hue = rng.uniform(-JITTER, JITTER)
    colour = piece.astype(np.float32) * brightness
    middle = float((colour @ _LUMA).mean())
    colour = middle + contrast * (colour - middle)
    grey = (colour @ _LUMA)[..., None]
    colour = (grey + saturation * (colour - grey)).clip(0, 255)
    hsv = cv2.cvtColor(np.ascontiguousarray(colour / 255, dtype=np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
    return np.asarray(np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).clip(0, 255), np.uint8)
