"""Gradient noise (Perlin, SIGGRAPH 1985, with the smoother fade of 2002)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def perlin_noise(shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise: the corners of a grid have random gradients, and their slopes are blended in between.

    Args:
        shape: Height H and width W in pixels.
        cells: Number of cells of the grid, down and across.
        rng: Draws the gradients.

    Returns:
        float32 [H, W] in [-1, 1]. Unit gradients reach sqrt(1/2) at most; that is scaled to 1.
    """
    angles = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1))
    corners = np.stack([np.sin(angles), np.cos(angles)], 2)
    places = [(np.arange(side) + 0.5) * count / side for side, count in zip(shape, cells, strict=True)]
    (row, down), (column, across) = ((place.astype(np.int64), place % 1) for place in places)

    def slope(i: int, j: int) -> NDArray[np.float64]:
        gradient = corners[np.ix_(row + i, column + j)]
        return np.asarray(gradient[..., 0] * (down - i)[:, None] + gradient[..., 1] * (across - j)[None])

    fade_down, fade_across = (t**3 * (t * (6 * t - 15) + 10) for t in (down[:, None], across[None]))
    upper = slope(0, 0) * (1 - fade_across) + slope(0, 1) * fade_across
    lower = slope(1, 0) * (1 - fade_across) + slope(1, 1) * fade_across
    return np.asarray(np.sqrt(2) * (upper * (1 - fade_down) + lower * fade_down), np.float32)
