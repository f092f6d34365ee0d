"""Random maps that lay out what is free in a painting.

White noise on a grid has the grid's size in it: enlarged, it is a string of pearls along every thin mask, which was
seen in one free painting of six. Summed over octaves, no size stands out, and a crack may stay as it is for its length.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_OCTAVES = (0.35, 0.5, 0.6, 0.5)  # standard deviations of white noise on grids of every place, every second, ...
_LEAST = 2  # places of a grid along an axis


def fine_map(draw: Callable[..., Floats], channels: int, height: int, width: int) -> Floats:
    """Smooth noise of mean 0 and variance about 1, float32 [channels, height, width].

    Args:
        draw: Standard normal numbers of a shape, float32.
        channels: Independent maps.
        height: Of each.
        width: Of each.
    """
    total = np.zeros((height, width, channels), np.float32)
    for octave, deviation in enumerate(_OCTAVES):
        shape = (max(_LEAST, height >> octave), max(_LEAST, width >> octave), channels)
        grid = draw(*shape)
        if shape[:2] != (height, width):
            grid = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).reshape(total.shape)
            # Interpolation lowers the variance between places.
            grid = grid / np.maximum(np.sqrt(np.square(grid).mean()), 1e-3)
        total += np.float32(deviation) * grid
    out: Floats = np.ascontiguousarray(np.moveaxis(total, 2, 0)) / np.float32(np.linalg.norm(_OCTAVES))
    return out
