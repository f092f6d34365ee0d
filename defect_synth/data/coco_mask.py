"""Rasterise the masks of COCO instances files: polygons and run-length encodings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defect_synth.errors import DataError
from defect_synth.samples import Pixels


@dataclass(frozen=True)
class CocoMask:
    """The union of all annotations of one image.

    Attributes:
        file: The JSON file, for messages.
        image_id: Identifier of the image in `file`, for messages.
        height: Height that `file` gives for the image.
        width: Width that `file` gives for the image.
        polygons: Rings x0, y0, x1, y1, ... in pixels; the centre of the first pixel is (0.5, 0.5).
        runs: Run lengths down the columns, starting with background: numbers, or the compressed text of COCO.
    """

    file: Path
    image_id: str
    height: int
    width: int
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[tuple[int, ...] | str, ...] = ()

    def rasterise(self) -> Pixels:
        """uint8 [height, width], 1 on the defect.

        Raises:
            DataError: A polygon or run-length encoding is damaged.
        """
        mask = np.zeros((self.height, self.width), np.uint8)
        for polygon in self.polygons:
            if len(polygon) < 6 or len(polygon) % 2 or not all(map(math.isfinite, polygon)):
                raise self._damaged(f"a polygon needs x, y pairs of at least 3 points, got {len(polygon)} numbers")
            mask |= fill_polygon(polygon, self.height, self.width)
        for runs in self.runs:
            counts = decode_runs(runs) if isinstance(runs, str) else runs
            if not counts or min(counts) < 0 or sum(counts) != mask.size:
                raise self._damaged(
                    f"the run lengths add up to {sum(counts)}, expected {self.height} x {self.width} = {mask.size}"
                )
            values = np.arange(len(counts), dtype=np.uint8) % 2
            mask |= np.repeat(values, counts).reshape(self.width, self.height).T  # runs go down the columns
        return mask

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self.file}: segmentation of image {self.image_id} is damaged: {what}; export it again")


def decode_runs(text: str) -> tuple[int, ...]:
    """Decode the compressed text form of COCO run lengths.

    Each character encodes six bits with an offset of 48: five bits of the number, lowest first, and bit 5 if more
    follow. Bit 4 of the last character of a number is the sign. From the fourth number on, the difference to the one
    two positions before is stored.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return tuple(runs)


def fill_polygon(polygon: Sequence[float], height: int, width: int) -> Pixels:
    """The pixels whose centres lie inside a polygon, by the even-odd rule; uint8 [height, width].

    `fillPoly` of OpenCV also draws the outline, which widens every shape by half a pixel: a crack of 2 pixels would
    become 3. A polygon too thin to contain the centre of any pixel marks the pixels along its outline.

    Args:
        polygon: x0, y0, x1, y1, ...; the centre of the first pixel is (0.5, 0.5).
        height: Rows of the result.
        width: Columns of the result.
    """
    points = np.asarray(polygon, np.float64).reshape(-1, 2)
    crossings = np.zeros((height, width + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        # Rows whose centre lies in [y0, y1): half-open, so that a corner shared by two edges counts once.
        rows = np.arange(max(0, math.ceil(y0 - 0.5)), min(height, math.ceil(y1 - 0.5)))
        x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        crossings[rows, np.clip(np.ceil(x - 0.5), 0, width).astype(np.intp)] ^= 1
    mask = np.bitwise_xor.accumulate(crossings[:, :-1], axis=1)
    if not mask.any():
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            length = min(max(abs(x1 - x0), abs(y1 - y0)), 2 * (height + width))
            steps = np.linspace(0, 1, 2 + int(2 * length))
            column = np.floor(x0 + steps * (x1 - x0)).astype(np.intp)
            row = np.floor(y0 + steps * (y1 - y0)).astype(np.intp)
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            mask[row[inside], column[inside]] = 1
    return mask
