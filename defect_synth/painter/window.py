"""Views: square parts of an image around a defect, which the painter works on.

A view has the same side whatever the size of the image, so a defect of ten pixels is painted in its own pixels. Only a
defect that does not fit into a view is shrunk. Not in the paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_MARGIN = 1.3  # side of a window over the extent of the defect: the painter needs to see the surroundings
_STRIDE = 16  # of the networks: parts that start at multiples of it have the same feature grid as the whole view
_CONTEXT = 12  # pixels around a mask that matter to the networks
_MIN_PART = 64  # side of the computed part of a view, in pixels
_JOINT_EXTENT = 0.75  # components of a mask that fit into this share of a view are painted together


@dataclass(frozen=True)
class Window:
    """A square of `size` image pixels whose top left corner is (top, left); it may reach over the image border."""

    top: int
    left: int
    size: int

    def cut(self, array: NDArray[Any], side: int) -> NDArray[Any]:
        """The view [side, side, ...] of an image or mask [H, W, ...].

        Beyond the border of the image, pixels of an image are repeated and masks are empty.
        """
        height, width = array.shape[:2]
        rows = slice(max(0, self.top), min(height, self.top + self.size))
        columns = slice(max(0, self.left), min(width, self.left + self.size))
        pads = (rows.start - self.top, self.top + self.size - rows.stop,
                columns.start - self.left, self.left + self.size - columns.stop)  # fmt: skip
        part = array[rows, columns]
        if any(pads):
            border = cv2.BORDER_REPLICATE if array.ndim == 3 else cv2.BORDER_CONSTANT
            part = cv2.copyMakeBorder(part, *pads, border)
        return resize(part, side)

    def paste(self, view: NDArray[Any], target: NDArray[Any]) -> None:
        """Write a view [size, size, ...] into `target` [H, W, ...] in place, as far as it lies inside."""
        height, width = target.shape[:2]
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = min(height, self.top + self.size), min(width, self.left + self.size)
        target[top:bottom, left:right] = view[top - self.top : bottom - self.top, left - self.left : right - self.left]


def resize(array: NDArray[Any], side: int) -> NDArray[Any]:
    """Resize a square array to [side, side, ...]: by area where it shrinks, linearly where it grows.

    Thin lines of a uint8 mask [H, W] in {0, 1} survive: a pixel is defect if a quarter of it is.
    """
    if array.shape[0] == side:
        return np.ascontiguousarray(array)
    interpolation = cv2.INTER_AREA if array.shape[0] > side else cv2.INTER_LINEAR
    if array.ndim == 2 and array.dtype == np.uint8:
        covered = cv2.resize(array.astype(np.float32), (side, side), interpolation=interpolation)
        threshold = 0.25 if array.shape[0] > side else 0.5
        mask: Pixels = (covered >= threshold).astype(np.uint8)
        return mask
    out: NDArray[Any] = cv2.resize(array, (side, side), interpolation=interpolation)
    return out


def resample(array: NDArray[np.uint8], matrix: NDArray[np.float32], side: int, *, cubic: bool = False,
             border: int = cv2.BORDER_REPLICATE) -> NDArray[np.uint8]:  # fmt: skip
    """Warp an array [H, W, ...] to [side, side, ...] by an affine map.

    Args:
        array: Image or mask.
        matrix: 2 x 3; pixel (x, y) of the result shows `array` at `matrix` @ (x, y, 1). Where that shrinks, the array
            is first shrunk by area, so that nothing aliases.
        side: Of the result.
        cubic: Interpolate cubically instead of linearly.
        border: OpenCV's border mode.
    """
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))
    if step > 1.5:
        height, width = max(1, round(array.shape[0] / step)), max(1, round(array.shape[1] / step))
        fx, fy = width / array.shape[1], height / array.shape[0]
        array = cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)
        # Centres of pixels: x' + 0.5 = (x + 0.5) * f.
        matrix = matrix.copy()
        matrix[0] *= fx
        matrix[1] *= fy
        matrix[0, 2] += 0.5 * fx - 0.5
        matrix[1, 2] += 0.5 * fy - 0.5
    interpolation = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    out: NDArray[np.uint8] = cv2.warpAffine(
        array, matrix, (side, side), flags=interpolation | cv2.WARP_INVERSE_MAP, borderMode=border
    )
    return out


def window_around(mask: Pixels, side: int, scale: float) -> Window:
    """The window to paint a mask in: about as large as a view, or larger if the mask needs it.

    Args:
        mask: uint8 [H, W] in {0, 1}, not empty.
        side: Side of the views, in pixels.
        scale: Pixels of this image per pixel of the training images.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1)
    extent = max(box[1] - box[0], box[3] - box[2])
    smallest = max(8, round(side * scale))
    # No larger than the image, unless the defect is.
    size = max(smallest, min(math.ceil(extent * _MARGIN), max(mask.shape)), extent)
    return Window(_start(box[0], box[1], size, mask.shape[0]), _start(box[2], box[3], size, mask.shape[1]), size)


def computed_part(mask: Pixels) -> tuple[slice, slice]:
    """Rows and columns of the square part of a view that has to be computed for a mask [S, S] (not empty).

    Pixels further from the mask cost time and do not change the painting visibly.
    """
    side = len(mask)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    ranges = [(max(0, int(v[0]) - _CONTEXT), min(side, int(v[-1]) + 1 + _CONTEXT)) for v in (ys, xs)]
    size = _STRIDE * max(math.ceil(stop / _STRIDE) - start // _STRIDE for start, stop in ranges)
    size = min(max(size, _MIN_PART), side)
    starts = [min(start // _STRIDE * _STRIDE, side - size) for start, _ in ranges]
    return slice(starts[0], starts[0] + size), slice(starts[1], starts[1] + size)


def split_mask(mask: Pixels, side: int, scale: float) -> list[Pixels]:
    """Split a mask into parts that are painted in one view each, in a fixed order.

    Components all over an image are painted a few at a time in full resolution instead of all at once in a shrunk view.

    Args:
        mask: uint8 [H, W] in {0, 1}, not empty.
        side: Side of the views, in pixels.
        scale: Pixels of this image per pixel of the training images.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    limit = max(8.0, side * scale * _JOINT_EXTENT)
    if max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1 <= limit:
        return [mask]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    groups: list[tuple[list[int], tuple[int, int, int, int]]] = []
    for component in range(1, count):
        left, top, width, height = (int(v) for v in stats[component, :4])
        box = (top, top + height, left, left + width)
        for number, (members, other) in enumerate(groups):
            joint = (min(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), max(box[3], other[3]))
            contained = joint in (other, box)
            if contained or max(joint[1] - joint[0], joint[3] - joint[2]) <= limit:
                groups[number] = ([*members, component], joint)
                break
        else:
            groups.append(([component], box))
    return [np.isin(labels, members).astype(np.uint8) for members, _ in groups]


def _start(first: int, last: int, size: int, length: int) -> int:
    """Start of a window of `size` around first..last: inside the image if it fits, centred on the image if not."""
    if size >= length:
        return (length - size) // 2
    return min(max((first + last - size) // 2, 0), length - size)
