"""Where on an image a defect belongs: where it looks as it does around the real defects.

A product that lies at any angle has no fixed positions in the image, yet a scratch of the neck does not belong on the
head. So positions are told apart by what surrounds them: mean colour and roughness at three distances, in any
direction. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.exemplar import Exemplar, relative_scale
from defect_synth.product.locations import Weights
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]

_CELLS = 16  # along the side of a view
_DISTANCES = (0.6, 1.3, 3.2)  # standard deviations of the blurs, in cells
_VALUES = 4  # at each distance: three colours and the deviation of brightness
_MIN_VISIBLE = 0.15  # share of the surroundings at a distance that must not be defect for it to count
_MIN_DEVIATION = 4.0  # grey levels: smaller differences do not tell positions apart
_LIMIT_OF_ONE = 0.5  # distance from a single real defect up to which a position is as good as its own
_MIN_LIMIT = 0.25
_ALWAYS_GOOD = 0.02  # share of the cells of an image that get full weight, however unlike they are
_FALL = 4.0  # how fast weights fall beyond the limit
_NORMALS = 6  # normal images that are used at most


def learn_surroundings(
    symmetry: Symmetry, exemplars: Mapping[str, Sequence[Exemplar]],
    normals: Sequence[tuple[Pixels, NDArray[np.bool_]]], side: int, reference: int,
) -> Surroundings | None:  # fmt: skip
    """What surrounds the real defects; None for aligned products, or if there are no normal images.

    For the arguments see `Surroundings`.
    """
    if symmetry.aligned or not normals:
        return None
    return Surroundings(exemplars, normals[:_NORMALS], side, reference)


class _Context(NamedTuple):
    """What surrounds positions: `values` [..., 3, 4] at three distances, and the visible share of it [..., 3]."""

    values: Floats
    visible: Floats


class Surroundings:
    """What surrounds the real defects of each category, compared with what surrounds each cell of an image.

    Args:
        exemplars: Defect category -> its real defects, at least one each.
        normals: Normal images uint8 [H, W, 3] with their foregrounds bool [H, W], at least one: they say how much
            colours and roughness vary over the product.
        side: Side of the painter's views, in pixels.
        reference: Longer side of the training images, in pixels.
    """

    def __init__(
        self, exemplars: Mapping[str, Sequence[Exemplar]], normals: Sequence[tuple[Pixels, NDArray[np.bool_]]],
        side: int, reference: int,
    ) -> None:  # fmt: skip
        self._cell, self._reference = side / _CELLS, reference
        rows = []
        for image, foreground in normals:
            values = self._of_cells(image)
            inside = cv2.resize(foreground.astype(np.float32), values.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.5
            rows.append(values[inside if inside.any() else np.ones_like(inside)])
        self._deviation = np.maximum(np.concatenate(rows).std(axis=0), _MIN_DEVIATION).astype(np.float32)
        self._real = {name: [self._of_defect(e) for e in of_defect] for name, of_defect in exemplars.items()}
        self._limits = {name: self._limit(contexts) for name, contexts in self._real.items()}

    def weights(self, defect: str, image: Pixels) -> Weights | None:
        """How well such a defect fits each cell of an image [H, W, 3]: float32 [h, w], 0 to 1.

        None: The real defects are so large that next to nothing around them is visible.
        """
        real = [context for context in self._real[defect] if context.visible.any()]
        if not real:
            return None
        values = self._of_cells(image)
        squared = np.min([self._squared_distance(values, context) for context in real], axis=0)
        distance = np.sqrt(squared)
        limit = max(self._limits[defect], float(np.quantile(distance, _ALWAYS_GOOD)))
        out: Weights = np.exp(-_FALL * np.square(np.maximum(distance / limit - 1, 0))).astype(np.float32)
        return out

    def _limit(self, real: Sequence[_Context]) -> float:
        """Distance up to which a position is as good as the real ones: as far as they are from each other."""
        known = [context for context in real if context.visible.any()]
        if len(known) < 2:
            return _LIMIT_OF_ONE
        nearest = [
            min(float(self._squared_distance(a.values, b, a.visible)) for j, b in enumerate(known) if j != i) ** 0.5
            for i, a in enumerate(known)
        ]
        return max(_MIN_LIMIT, float(np.quantile(nearest, 0.75)))

    def _squared_distance(self, values: Floats, real: _Context, visible: Floats | None = None) -> Floats:
        """Mean squared difference of `values` [..., 3, 4] to a real defect's, in units of the usual deviation: [...].

        Distances at which too little is visible do not count.
        """
        weight = real.visible if visible is None else np.minimum(visible, real.visible)
        weight = weight / max(float(weight.sum()) * _VALUES, 1e-6)
        difference = (values - real.values) / self._deviation
        out: Floats = np.einsum("...ld,...ld,l->...", difference, difference, weight)
        return out

    def _of_cells(self, image: Pixels) -> Floats:
        """What surrounds each cell of an image: [h, w, 3, 4]."""
        cell = max(1.0, self._cell * relative_scale(image.shape, self._reference))
        return _contexts(image, np.ones(image.shape[:2], np.uint8), cell).values

    def _of_defect(self, exemplar: Exemplar) -> _Context:
        """What surrounds the centre of a defect, with the defect itself left out: [3, 4] and [3]."""
        cell = max(1.0, self._cell * exemplar.scale)
        defect = cv2.dilate(exemplar.mask, np.ones((3, 3), np.uint8))
        contexts = _contexts(exemplar.image, 1 - defect, cell)
        x, y, width, height = cv2.boundingRect(exemplar.mask)
        rows, columns = exemplar.mask.shape
        row = int((y + height / 2) * contexts.values.shape[0] / rows)
        column = int((x + width / 2) * contexts.values.shape[1] / columns)
        visible = contexts.visible[row, column]
        return _Context(contexts.values[row, column], np.where(visible > _MIN_VISIBLE, visible, 0).astype(np.float32))


def _contexts(image: Pixels, visible: Pixels, cell: float) -> _Context:
    """What surrounds each cell of `cell` pixels of an image [H, W, 3], where `visible` [H, W] is 1."""
    height, width = image.shape[:2]
    if cell >= 8:  # detail below a quarter of a cell is noise; half a cell would lose threads and weaves
        size = max(1, round(4 * width / cell)), max(1, round(4 * height / cell))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        visible = (cv2.resize(visible * np.uint8(255), size, interpolation=cv2.INTER_AREA) == 255).astype(np.uint8)
    weight = visible.astype(np.float32)
    colours = image.astype(np.float32)
    layers = np.concatenate([colours, np.square(colours.mean(axis=2, keepdims=True))], axis=2) * weight[:, :, None]
    size = max(1, round(width / cell)), max(1, round(height / cell))
    layers = cv2.resize(layers, size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    values = np.empty((*weight.shape, len(_DISTANCES), _VALUES), np.float32)
    share = np.empty((*weight.shape, len(_DISTANCES)), np.float32)
    for i, distance in enumerate(_DISTANCES):
        share[:, :, i] = cv2.GaussianBlur(weight, (0, 0), distance, borderType=cv2.BORDER_REPLICATE)
        means = cv2.GaussianBlur(layers, (0, 0), distance, borderType=cv2.BORDER_REPLICATE)
        means /= np.maximum(share[:, :, i : i + 1], 1e-6)
        values[:, :, i, :3] = means[:, :, :3]
        values[:, :, i, 3] = np.sqrt(np.maximum(means[:, :, 3] - np.square(means[:, :, :3].mean(axis=2)), 0))
    return _Context(values, share)
