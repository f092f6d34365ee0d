"""What is free in a painting: a latent code, random layout maps, a wanted appearance and pixel noise. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Draw = Callable[..., Floats]
"""Shape -> standard normal numbers, float32."""

Array = TypeVar("Array")

_OCTAVES = (0.35, 0.5, 0.6, 0.5)  # standard deviations of white noise on grids of every position, every second, ...
_SMALLEST_GRID = 2  # positions along an axis


class PaintingCodes(NamedTuple, Generic[Array]):
    """The free part of N paintings, as tensors or NumPy arrays, float32.

    Attributes:
        z: Standard normal, [N, z_dim].
        coarse_map: Standard normal, [N, map_channels, H / 16, W / 16].
        fine_map: Smooth noise of mean 0 and variance 1, see `fine_map`, [N, map_channels, H / 4, W / 4].
        appearance: Wanted colour statistics inside the mask, see `appearance`, [N, 6].
        grain: Standard normal, [N, 3, H, W]; read where there is no donor, by painters that were trained with grain.
    """

    z: Array
    coarse_map: Array
    fine_map: Array
    appearance: Array
    grain: Array


def draw_codes(
    draw: Draw, appearance: Floats, height: int, width: int, *, z_dim: int, map_channels: int, grain: bool
) -> PaintingCodes[Floats]:
    """Random codes for views of `height` x `width` pixels.

    Args:
        draw: Where random numbers come from.
        appearance: Wanted colour statistics, [N, 6].
        height: Of the views.
        width: Of the views.
        z_dim: Length of z.
        map_channels: Channels of both maps.
        grain: Whether pixel noise is read; otherwise it is 0.
    """
    count = len(appearance)
    z = draw(count, z_dim)
    coarse = draw(count, map_channels, height // 16, width // 16)
    fine = np.stack([fine_map(draw, map_channels, height // 4, width // 4) for _ in range(count)])
    noise = draw(count, 3, height, width) if grain else np.zeros((count, 3, height, width), np.float32)
    return PaintingCodes(z, coarse, fine, appearance, noise)


def fine_map(draw: Draw, channels: int, height: int, width: int) -> Floats:
    """Smooth noise of mean 0 and variance about 1, float32 [channels, height, width].

    Not in the paper. White noise shows the size of its grid: enlarged, it draws a string of pearls along every thin
    mask, which was seen in one of six free paintings. In a sum over octaves no size stands out, and a crack may keep
    its look along its whole length.
    """
    total = np.zeros((height, width, channels), np.float32)
    for octave, deviation in enumerate(_OCTAVES):
        shape = (max(_SMALLEST_GRID, height >> octave), max(_SMALLEST_GRID, width >> octave), channels)
        grid = draw(*shape)
        if shape[:2] != (height, width):
            grid = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).reshape(total.shape)
            # Interpolation lowers the variance between positions.
            grid = grid / np.maximum(np.sqrt(np.square(grid).mean()), 1e-3)
        total += np.float32(deviation) * grid
    out: Floats = np.ascontiguousarray(np.moveaxis(total, 2, 0)) / np.float32(np.linalg.norm(_OCTAVES))
    return out
