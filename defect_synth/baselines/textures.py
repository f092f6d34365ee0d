"""Textures to fill simulated anomalies with: procedural ones, or images of a folder such as DTD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.baselines.perlin_noise import perlin_noise
from defect_synth.data.images import read_image
from defect_synth.errors import DataError
from defect_synth.files import listed
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]
_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def procedural_texture(side: int, rng: np.random.Generator) -> Pixels:
    """A texture of a random pattern, scale and palette: uint8 [side, side, 3]."""
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
    shade = pattern(side, rng)
    shade = (shade - shade.min()) / max(float(np.ptp(shade)), 1e-6)
    # Three colours, so that light and dark parts differ in hue, as they do in real materials.
    palette = rng.uniform(0, 255, (3, 3))
    position = shade[..., None] * 2
    low = palette[0] + np.minimum(position, 1) * (palette[1] - palette[0])
    colour = low + np.maximum(position - 1, 0) * (palette[2] - palette[1])
    return _pixels(colour)


def texture_files(folder: Path) -> list[Path]:
    """The image files in a folder and its subfolders, sorted.

    Raises:
        DataError: There is none.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; expected texture images such as those of DTD")
    found: list[Path] = []
    waiting = [folder]
    while waiting:  # `rglob` would leave out what may not be read, without a word
        entries = listed(waiting.pop())
        waiting += [entry for entry in entries if entry.is_dir() and not entry.is_symlink()]
        found += [entry for entry in entries if entry.suffix.lower() in _SUFFIXES and not entry.is_dir()]
    found.sort()
    if not found:
        raise DataError(f"no textures in {folder}; expected images such as those of DTD ({', '.join(_SUFFIXES)})")
    return found


def texture_from(files: Sequence[Path], side: int, rng: np.random.Generator) -> Pixels:
    """A random one of some image files, resized to uint8 [side, side, 3].

    Raises:
        DataError: The file cannot be read.
    """
    image = read_image(files[int(rng.integers(len(files)))])
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def augmented_texture(texture: Pixels, rng: np.random.Generator, count: int = 3) -> Pixels:
    """A texture, uint8 [S, S, 3], after `count` different random augmentations of colour, sharpness or direction."""
    for number in rng.permutation(len(_AUGMENTATIONS))[:count]:
        texture = _AUGMENTATIONS[int(number)](texture, rng)
    return texture


def _clouds(side: int, rng: np.random.Generator) -> Floats:
    total = np.zeros((side, side), np.float32)
    first = int(rng.integers(0, 4))
    for octave in range(4):
        cells = min(2 ** (first + octave), max(1, side // 2))
        total += perlin_noise((side, side), (cells, cells), rng) / 2**octave
    return total


def _marble(side: int, rng: np.random.Generator) -> Floats:
    veins = _clouds(side, rng)
    return np.asarray(np.sin(rng.uniform(4, 14) * np.pi * veins), np.float32)


def _weave(side: int, rng: np.random.Generator) -> Floats:
    x, y = _rotated_grid(side, rng)
    count = rng.uniform(3, 24)
    across, along = np.sin(2 * np.pi * count * x), np.sin(2 * np.pi * count * y)
    over = np.floor(count * x) + np.floor(count * y)
    return np.asarray(np.where(over % 2 > 0, across, along), np.float32)


def _stripes(side: int, rng: np.random.Generator) -> Floats:
    x, _ = _rotated_grid(side, rng)
    wobble = rng.uniform(0, 0.15) * _clouds(side, rng)
    return np.asarray(np.sin(2 * np.pi * rng.uniform(2, 30) * (x + wobble)), np.float32)


def _grains(side: int, rng: np.random.Generator) -> Floats:
    """Distance to the nearest of some random points: scales, pebbles, cells."""
    points = np.ones((side, side), np.uint8)
    count = int(rng.integers(8, 20 + side))
    points[rng.integers(0, side, count), rng.integers(0, side, count)] = 0
    return np.asarray(cv2.distanceTransform(points, cv2.DIST_L2, 5), np.float32)


def _speckle(side: int, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal((side, side)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(0.4, 2.0))), np.float32)


def _rotated_grid(side: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    return (
        np.asarray(x * np.cos(angle) + y * np.sin(angle), np.float32),
        np.asarray(y * np.cos(angle) - x * np.sin(angle), np.float32),
    )


_PATTERNS: tuple[Callable[[int, np.random.Generator], Floats], ...] = (
    _clouds, _marble, _weave, _stripes, _grains, _speckle,
)  # fmt: skip


def _pixels(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def _gamma(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _pixels(255 * (image / 255.0) ** rng.uniform(0.5, 2.0))


def _brightness(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _pixels(image * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30))


def _sharpness(image: Pixels, rng: np.random.Generator) -> Pixels:
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    return _pixels(image + rng.uniform(0.5, 1.5) * (image - smooth))


def _hue(image: Pixels, rng: np.random.Generator) -> Pixels:
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-50, 50)) % 360
    hsv[..., 1] = (hsv[..., 1] + rng.uniform(-0.2, 0.2)).clip(0, 1)
    return _pixels(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB))


def _solarised(image: Pixels, rng: np.random.Generator) -> Pixels:
    return np.where(image >= rng.integers(32, 129), 255 - image, image).astype(np.uint8)


def _posterised(image: Pixels, rng: np.random.Generator) -> Pixels:
    step = int(2 ** rng.integers(4, 7))
    return (image // step * step).astype(np.uint8)


def _inverted(image: Pixels, _: np.random.Generator) -> Pixels:
    return (255 - image).astype(np.uint8)


def _stretched(image: Pixels, _: np.random.Generator) -> Pixels:
    low, high = image.min((0, 1)).astype(np.float32), image.max((0, 1)).astype(np.float32)
    return _pixels(255 * (image - low) / np.maximum(high - low, 1))


def _equalised(image: Pixels, _: np.random.Generator) -> Pixels:
    return np.stack([cv2.equalizeHist(np.ascontiguousarray(image[..., i])) for i in range(3)], 2)


def _rotated(image: Pixels, rng: np.random.Generator) -> Pixels:
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), float(rng.uniform(-45, 45)), 1.0)
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT), np.uint8)


_AUGMENTATIONS: tuple[Callable[[Pixels, np.random.Generator], Pixels], ...] = (
    _gamma, _brightness, _sharpness, _hue, _solarised, _posterised, _inverted, _stretched, _equalised, _rotated,
)  # fmt: skip
