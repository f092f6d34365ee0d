"""Random positions on a product: anywhere, or by the weights of the cells of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
"""How well a defect fits each of [h, w] equal cells that cover an image, 0 to 1."""


@dataclass(frozen=True, eq=False)
class WeightedCells:
    """Cells of an image to draw positions from, each as likely as its weight times its share of product.

    Attributes:
        cumulative: Sum of the probabilities of all cells up to each one, row by row; not normalised.
        columns: Cells in a row.
        cell: Height and width of a cell, in pixels.
    """

    cumulative: NDArray[np.float64]
    columns: int
    cell: tuple[float, float]

    @classmethod
    def of(cls, weights: Weights, foreground: NDArray[np.bool_]) -> WeightedCells | None:
        """The cells of `weights` [h, w] on a product [H, W]; None if no cell on the product has a weight."""
        rows, columns = weights.shape
        share = cv2.resize(foreground.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
        cumulative = np.cumsum((weights * share).ravel().astype(np.float64))
        cell = foreground.shape[0] / rows, foreground.shape[1] / columns
        return cls(cumulative, columns, cell) if cumulative[-1] > 0 else None

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """A random position (y, x), in pixels."""
        index = int(np.searchsorted(self.cumulative, rng.random() * self.cumulative[-1], side="right"))
        row, column = divmod(min(index, len(self.cumulative) - 1), self.columns)
        return (row + rng.random()) * self.cell[0] - 0.5, (column + rng.random()) * self.cell[1] - 0.5


def random_pixel(foreground: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """A pixel (y, x) of the product, all equally likely."""
    indices = np.flatnonzero(foreground)
    y, x = divmod(int(indices[rng.integers(len(indices))]), int(foreground.shape[1]))
    return y, x
