"""Views: the square part of an image around a defect that the painter works on, and the way back.

A view has the same side whatever the size of the image, so a defect of ten pixels is painted in its own pixels. Only a
defect that does not fit is seen smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_MARGIN = 1.3  # of the defect's extent: the painter needs to see what it paints into
_STEP = 16  # the networks' stride: what is cut out at multiples of it is cut into the same places
_AROUND = 12  # pixels around a mask
_LEAST = 64  # side
_ALONE = 0.75  # parts of a defect that fit into this share of a view are painted together


@dataclass(frozen=True)
class Window:
    """A square of `size` image pixels whose top left corner is (top, left); may reach over the border."""

    top: int
    left: int
    size: int

    def cut(self, array: NDArray[Any], side: int) -> NDArray[Any]:
        """The view [side, side, ...] of an image or mask [H, W, ...]; edge pixels are repeated beyond the border."""
        height, width = array.shape[:2]
        rows = slice(max(0, self.top), min(height, self.top + self.size))
        columns = slice(max(0, self.left), min(width, self.left + self.size))
        pads = (rows.start - self.top, self.top + self.size - rows.stop,
                columns.start - self.left, self.left + self.size - columns.stop)  # fmt: skip
        part = array[rows, columns]
        if any(pads):
            # A mask does not go on beyond the border: nothing there is painted.
            how = cv2.BORDER_REPLICATE if array.ndim == 3 else cv2.BORDER_CONSTANT
            part = cv2.copyMakeBorder(part, *pads, how)
        return resize(part, side)

    def lay(self, target: NDArray[Any], view: NDArray[Any]) -> None:
        """Write a view [size, size, ...] into `target` [H, W, ...], where it is inside."""
        height, width = target.shape[:2]
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = min(height, self.top + self.size), min(width, self.left + self.size)
        target[top:bottom, left:right] = view[top - self.top : bottom - self.top, left - self.left : right - self.left]


def resize(array: NDArray[Any], side: int) -> NDArray[Any]:
    """Square array -> [side, side, ...]: area average when shrinking, linear when growing.

    A uint8 mask [H, W] of 0 and 1 keeps thin lines: a pixel is defect where a quarter of it is.
    """
    if array.shape[0] == side:
        return np.ascontiguousarray(array)
    how = cv2.INTER_AREA if array.shape[0] > side else cv2.INTER_LINEAR
    if array.ndim == 2 and array.dtype == np.uint8:
        covered = cv2.resize(array.astype(np.float32), (side, side), interpolation=how)
        limit = 0.25 if array.shape[0] > side else 0.5
        seen: Pixels = (covered >= limit).astype(np.uint8)
        return seen
    out: NDArray[Any] = cv2.resize(array, (side, side), interpolation=how)
    return out


def window_of(mask: Pixels, side: int, density: float) -> Window:
    """The window for a mask (not empty).

    Args:
        mask: uint8 [H, W] of 0 and 1.
        side: Side of views.
        density: Pixels of this image for one pixel of the images that the painter learnt from.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1)
    extent = max(box[1] - box[0], box[3] - box[2])
    least = max(8, round(side * density))
    # No more than the image, unless the defect is as large as that.
    size = max(least, min(math.ceil(extent * _MARGIN), max(mask.shape)), extent)
    return Window(_start(box[0], box[1], size, mask.shape[0]), _start(box[2], box[3], size, mask.shape[1]), size)


def focus(mask: Pixels) -> tuple[slice, slice]:
    """Rows and columns of a view that have to be computed for a mask [S, S] (not empty) in it: a square.

    What is further from the mask than the networks look closely costs time and changes nothing that is seen.
    """
    side = len(mask)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    boxes = [(max(0, int(v[0]) - _AROUND), min(side, int(v[-1]) + 1 + _AROUND)) for v in (ys, xs)]
    size = _STEP * max(math.ceil(stop / _STEP) - start // _STEP for start, stop in boxes)
    size = min(max(size, _LEAST), side)
    starts = [min(start // _STEP * _STEP, side - size) for start, _ in boxes]
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


def _start(first: int, last: int, size: int, length: int) -> int:
    """Start of a window of `size` about first..last: inside the image where it can be, centred where it cannot."""
    if size >= length:
        return (length - size) // 2
    return min(max((first + last - size) // 2, 0), length - size)


def clusters(mask: Pixels, side: int, density: float) -> list[Pixels]:
    """Split a mask (not empty) into parts that are painted in a view each, in a fixed order.

    Specks all over an image are painted a few at a time at full resolution, instead of all together and seen from far.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    limit = max(8.0, side * density * _ALONE)
    if max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1 <= limit:
        return [mask]
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    groups: list[tuple[list[int], tuple[int, int, int, int]]] = []
    for piece in range(1, count):
        left, top, width, height = (int(v) for v in stats[piece, :4])
        box = (top, top + height, left, left + width)
        for number, (members, other) in enumerate(groups):
            joint = (min(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), max(box[3], other[3]))
            inside = joint in (other, box)
            if inside or max(joint[1] - joint[0], joint[3] - joint[2]) <= limit:
                groups[number] = ([*members, piece], joint)
                break
        else:
            groups.append(([piece], box))
    return [np.isin(pieces, members).astype(np.uint8) for members, _ in groups]


def sample(array: NDArray[np.uint8], matrix: NDArray[np.float32], side: int, *, smooth: bool = False,
           border: int = cv2.BORDER_REPLICATE) -> NDArray[np.uint8]:  # fmt: skip
    """[side, side, ...]: pixel (x, y) shows `array` at `matrix` @ (x, y, 1).

    Shrinks by area first, so that nothing aliases. `smooth` interpolates cubically.
    """
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    if step > 1.5:
        height, width = max(1, round(array.shape[0] / step)), max(1, round(array.shape[1] / step))
        fx, fy = width / array.shape[1], height / array.shape[0]
        array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
        # Pixel centres: x' + 0.5 = (x + 0.5) * f.
        matrix = matrix.copy()
        matrix[0] *= fx
        matrix[1] *= fy
        matrix[0, 2] += 0.5 * fx - 0.5
        matrix[1, 2] += 0.5 * fy - 0.5
    how = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    out: NDArray[np.uint8] = cv2.warpAffine(
        array, matrix, (side, side), flags=how | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    return out
