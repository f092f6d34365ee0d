"""Fit rectangular images and their masks to squares, and limit their size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.data.images import read_image
from defect_synth.data.masks import read_mask
from defect_synth.data.records import Record
from defect_synth.samples import Pixels


@dataclass(frozen=True)
class SquareFit:
    """Where a rectangular image is in a square, and how to get back.

    Attributes:
        how: `letterbox`: the whole image with borders added; `crop`: a square part of it.
        original: Height and width of the image.
        resolution: Side of the square in pixels.
        scale: Pixels of the square per pixel of the image.
        offset: Top and left of the scaled image in the square: >= 0 for letterbox, <= 0 for crop.
    """

    how: Literal["letterbox", "crop"]
    original: tuple[int, int]
    resolution: int
    scale: float
    offset: tuple[int, int]

    @property
    def scaled(self) -> tuple[int, int]:
        """Height and width of the whole image after scaling."""
        height, width = self.original
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def restore(self, array: NDArray[Any], outside: NDArray[Any] | None = None) -> NDArray[Any]:
        """Bring a result in the square back to the size and aspect of the image.

        Args:
            array: [R, R] or [R, R, C]. A uint8 array of two dimensions is a mask of 0 and 1, and so is the result.
            outside: Values for the part of the image that a crop has removed, [H, W] or [H, W, C]; None: 0.

        Returns:
            [H, W] or [H, W, C] with the dtype of `array`.
        """
        if array.shape[:2] != (self.resolution, self.resolution):
            raise ValueError(f"expected [{self.resolution}, {self.resolution}, ...], got {list(array.shape)}")
        height, width = self.scaled
        top, left = self.offset
        if self.how == "letterbox":
            return _resize(array[top : top + height, left : left + width], self.original)
        canvas = np.zeros((height, width, *array.shape[2:]), array.dtype)
        window = (slice(-top, self.resolution - top), slice(-left, self.resolution - left))
        canvas[window] = array
        result = _resize(canvas, self.original)
        if outside is not None:
            kept = np.zeros((height, width), np.uint8)
            kept[window] = 1
            inside = _resize(kept, self.original).astype(bool)
            result = np.where(inside if array.ndim == 2 else inside[:, :, None], result, outside).astype(array.dtype)
        return result


def fit_to_square(
    image: Pixels, mask: Pixels | None, resolution: int, how: Literal["letterbox", "crop"]
) -> tuple[Pixels, Pixels, SquareFit]:
    """Scale an image and its mask to a square without changing the aspect ratio.

    `letterbox` repeats the edge pixels outwards, so that the background continues. Black bars would be an edge at the
    same place in every image, which a discriminator would learn before anything else, and mirrored borders would show
    defects twice. The mask is extended in the same way, so that it remains correct for defects that touch the border.

    `crop` takes the central part; for a defect image the window is shifted along the longer side as far as necessary
    to contain the defect.

    A pixel of the mask is defect if at least half of it is covered. Cracks thinner than a pixel of the square never
    reach that, so each connected component keeps at least its area, in the pixels that it covers most.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] in {0, 1}; None: no defect.
        resolution: Side R of the square in pixels.
        how: `letterbox` keeps the whole image, `crop` fills the square.

    Returns:
        Image uint8 [R, R, 3], mask uint8 [R, R] in {0, 1}, and the transformation.
    """
    original = (image.shape[0], image.shape[1])
    mask = np.zeros(original, np.uint8) if mask is None else mask
    side = max(original) if how == "letterbox" else min(original)
    centred = SquareFit(how, original, resolution, resolution / side, (0, 0))
    height, width = centred.scaled
    # Floor division adds the odd pixel of a border at the bottom or right, and crops it at the top or left.
    top, left = (resolution - height) // 2, (resolution - width) // 2
    scaled, coverage = _resize(image, (height, width)), _resize(mask.astype(np.float32), (height, width))
    if how == "letterbox":
        pads = (top, resolution - height - top, left, resolution - width - left)
        square = cv2.copyMakeBorder(scaled, *pads, cv2.BORDER_REPLICATE)
        covered = cv2.copyMakeBorder(_binarise(coverage), *pads, cv2.BORDER_REPLICATE)
    else:
        binary = _binarise(coverage)
        top, left = (
            _shift_to_contain(binary.max(axis=1), top, resolution),
            _shift_to_contain(binary.max(axis=0), left, resolution),
        )
        window = (slice(-top, resolution - top), slice(-left, resolution - left))
        square, covered = np.ascontiguousarray(scaled[window]), np.ascontiguousarray(binary[window])
    return square, covered, SquareFit(how, original, resolution, resolution / side, (top, left))


def reduced(image: Pixels, mask: Pixels, scale: float) -> tuple[Pixels, Pixels]:
    """Scale an image [H, W, 3] and its mask [H, W] without changing the aspect, as `fit_to_square` does."""
    size = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    return _resize(image, size), _binarise(_resize(mask.astype(np.float32), size))


def read_limited(record: Record, longest: int) -> tuple[Pixels, Pixels]:
    """Read the image uint8 [H, W, 3] and the mask uint8 [H, W] of a record, with a longer side of at most `longest`.

    Raises:
        DataError: As for `read_image` and `read_mask`.
    """
    image = read_image(record.image)
    return limit_size(image, read_mask(record, (image.shape[0], image.shape[1])), longest)


def limit_size(image: Pixels, mask: Pixels, longest: int) -> tuple[Pixels, Pixels]:
    """Reduce an image [H, W, 3] and its mask [H, W] to a longer side of at most `longest`; smaller ones are unchanged.

    A mask that is not empty does not become empty.
    """
    side = max(image.shape[:2])
    if side <= longest:
        return image, mask
    size = (max(1, round(image.shape[1] * longest / side)), max(1, round(image.shape[0] * longest / side)))
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    limit = min(0.25, max(float(covered.max()), 1e-6))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), (covered >= limit).astype(np.uint8)


def _shift_to_contain(occupied: NDArray[Any], offset: int, resolution: int) -> int:
    """The offset (<= 0) nearest to `offset` whose window of length `resolution` contains the defect, or its centre."""
    places = np.flatnonzero(occupied)
    if not len(places):
        return offset
    first, last = int(places[0]), int(places[-1]) + 1
    if last - first > resolution:
        first = last = (first + last) // 2
        first, last = first - resolution // 2, first - resolution // 2 + resolution
    start = min(max(-offset, last - resolution), first)
    return -min(max(start, 0), len(occupied) - resolution)


def _resize(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize by area when shrinking, against aliasing, and cubic when enlarging; a uint8 mask is thresholded at 0.5."""
    if array.shape[:2] == size:
        return array.copy()
    shrinks = size[0] * size[1] < array.shape[0] * array.shape[1]
    if array.ndim == 2:
        # Linear and not cubic: coverage must stay within 0 and 1.
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized: NDArray[Any] = cv2.resize(array.astype(np.float32), size[::-1], interpolation=how)
        return (resized >= 0.5).astype(np.uint8) if array.dtype == np.uint8 else resized.astype(array.dtype)
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    image: NDArray[Any] = cv2.resize(array, size[::-1], interpolation=how)
    return image


def _binarise(coverage: NDArray[np.float32]) -> Pixels:
    """Threshold a coverage [H, W] in 0..1 at 0.5, or lower for components that would lose over half of their area."""
    mask = (coverage >= 0.5).astype(np.uint8)
    count, components, stats, _ = cv2.connectedComponentsWithStats((coverage > 0).astype(np.uint8), connectivity=8)
    for piece in range(1, count):
        left, top, width, height = stats[piece, :4]
        box = (slice(top, top + height), slice(left, left + width))
        here = components[box] == piece
        values = coverage[box][here]
        area = max(1, round(float(values.sum())))
        if 2 * np.count_nonzero(values >= 0.5) <= area:
            threshold = np.partition(values, -area)[-area]
            mask[box][here & (coverage[box] >= threshold)] = 1
    return mask
