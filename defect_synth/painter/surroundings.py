"""Where on a product a defect belongs: places that look like those around the real ones. No torch.

On products that lie anyhow no place can be named by where it is in the image, yet a scratch on the neck is no scratch
on the head. So places are told apart by what is around them: colours and roughness at three distances, whatever the
direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.painter.donors import Exemplar
from defect_synth.painter.window import density_of
from defect_synth.product.masks import Symmetry
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]
Weights = NDArray[np.float32]
"""How well a defect would be placed in each cell of an image, 0 to 1: [h, w]."""

_CELLS = 16  # along a view: so finely places are told apart
_REACHES = (0.6, 1.3, 3.2)  # cells, standard deviations of the blurs
_DEPTH = 4  # numbers for each reach: three colours and the deviation of brightness
_SHOWN = 0.15  # share of the surroundings that must not be defect, for a reach to count
_FLOOR = 4.0  # grey levels: smaller differences do not tell places apart
_ONE = 0.5  # distance up to which a place is as good as the only real one there is
_LEAST = 0.25
_FEW = 0.02  # share of the product that is always as good as it gets
_FALL = 4.0
_ENOUGH = 6  # normal images that show what differs on a product


def surroundings_of(
    symmetry: Symmetry, exemplars: Mapping[str, Sequence[Exemplar]],
    normals: Sequence[tuple[Pixels, NDArray[np.bool_]]], side: int, reference: int,
) -> Surroundings | None:  # fmt: skip
    """What to place defects by; None where that is known from how aligned products lie, or there is no normal image."""
    if symmetry.aligned or not normals:
        return None
    return Surroundings(exemplars, normals[:_ENOUGH], side, reference)


class _Seen(NamedTuple):
    """What is around places: numbers [..., 3, 4], and the share of it that is shown [..., 3]."""

    values: Floats
    shown: Floats


class Surroundings:
    """Learnt from the real defects, and from normal images, which say what differences there are.

    Args:
        exemplars: Defect -> its real ones; at least one each.
        normals: Images uint8 [H, W, 3] and products bool [H, W]; at least one.
        side: Of the views, in pixels.
        reference: Longer side of the images that the painter learns from.
    """

    def __init__(
        self, exemplars: Mapping[str, Sequence[Exemplar]], normals: Sequence[tuple[Pixels, NDArray[np.bool_]]],
        side: int, reference: int,
    ) -> None:  # fmt: skip
        self._cell, self._reference = side / _CELLS, reference
        rows = []
        for image, product in normals:
            seen = self._everywhere(image)
            inside = cv2.resize(product.astype(np.float32), seen.shape[1::-1], interpolation=cv2.INTER_AREA) > 0.5
            rows.append(seen[inside if inside.any() else np.ones_like(inside)])
        self._unit = np.maximum(np.concatenate(rows).std(axis=0), _FLOOR).astype(np.float32)
        self._real = {name: [self._around(e) for e in found] for name, found in exemplars.items()}
        self._alike = {name: self._limit(found) for name, found in self._real.items()}

    def weights(self, defect: str, image: Pixels) -> Weights | None:
        """How well such a defect would be placed: 0 to 1, [h, w] cells that cover `image` [H, W, 3].

        None: The real ones are so large that next to nothing is seen around them.
        """
        real = [seen for seen in self._real[defect] if seen.shown.any()]
        if not real:
            return None
        here = self._everywhere(image)
        square = np.min([self._square(here, seen) for seen in real], axis=0)
        distance = np.sqrt(square)
        limit = max(self._alike[defect], float(np.quantile(distance, _FEW)))
        out: Weights = np.exp(-_FALL * np.square(np.maximum(distance / limit - 1, 0))).astype(np.float32)
        return out

    def _limit(self, real: Sequence[_Seen]) -> float:
        """The distance at which the real ones' places are from each other: as far as a good place may be."""
        known = [seen for seen in real if seen.shown.any()]
        if len(known) < 2:
            return _ONE
        apart = [
            min(float(self._square(a.values, b, a.shown)) for j, b in enumerate(known) if j != i) ** 0.5
            for i, a in enumerate(known)
        ]
        return max(_LEAST, float(np.quantile(apart, 0.75)))

    def _square(self, here: Floats, there: _Seen, shown: Floats | None = None) -> Floats:
        """Mean squared difference, in units of what is usual on the product; what is not shown does not count."""
        weight = there.shown if shown is None else np.minimum(shown, there.shown)
        weight = weight / max(float(weight.sum()) * _DEPTH, 1e-6)
        difference = (here - there.values) / self._unit
        out: Floats = np.einsum("...ld,...ld,l->...", difference, difference, weight)
        return out

    def _everywhere(self, image: Pixels) -> Floats:
        """Of every cell of an image: [h, w, 3, 4]."""
        cell = max(1.0, self._cell * density_of(image.shape, self._reference))
        return _described(image, np.ones(image.shape[:2], np.uint8), cell).values

    def _around(self, exemplar: Exemplar) -> _Seen:
        """Of the cell in the middle of a defect, which is not looked at itself: [3, 4] and [3]."""
        cell = max(1.0, self._cell * exemplar.scale)
        defect = cv2.dilate(exemplar.mask, np.ones((3, 3), np.uint8))
        seen = _described(exemplar.image, 1 - defect, cell)
        x, y, width, height = cv2.boundingRect(exemplar.mask)
        rows, columns = exemplar.mask.shape
        row = int((y + height / 2) * seen.values.shape[0] / rows)
        column = int((x + width / 2) * seen.values.shape[1] / columns)
        shown = seen.shown[row, column]
        return _Seen(seen.values[row, column], np.where(shown > _SHOWN, shown, 0).astype(np.float32))


def _described(image: Pixels, shown: Pixels, cell: float) -> _Seen:
    """Of every cell of an image [H, W, 3], as far as `shown` [H, W] is 1."""
    height, width = image.shape[:2]
    if cell >= 8:  # finer than a quarter of a cell is noise, but for threads and weaves a half is too coarse
        size = max(1, round(4 * width / cell)), max(1, round(4 * height / cell))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        shown = (cv2.resize(shown * np.uint8(255), size, interpolation=cv2.INTER_AREA) == 255).astype(np.uint8)
    weight = shown.astype(np.float32)
    colours = image.astype(np.float32)
    layers = np.concatenate([colours, np.square(colours.mean(axis=2, keepdims=True))], axis=2) * weight[:, :, None]
    size = max(1, round(width / cell)), max(1, round(height / cell))
    layers = cv2.resize(layers, size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    values = np.empty((*weight.shape, len(_REACHES), _DEPTH), np.float32)
    known = np.empty((*weight.shape, len(_REACHES)), np.float32)
    for i, reach in enumerate(_REACHES):
        known[:, :, i] = cv2.GaussianBlur(weight, (0, 0), reach, borderType=cv2.BORDER_REPLICATE)
        means = cv2.GaussianBlur(layers, (0, 0), reach, borderType=cv2.BORDER_REPLICATE)
        means /= np.maximum(known[:, :, i : i + 1], 1e-6)
        values[:, :, i, :3] = means[:, :, :3]
        values[:, :, i, 3] = np.sqrt(np.maximum(means[:, :, 3] - np.square(means[:, :, :3].mean(axis=2)), 0))
    return _Seen(values, known)
