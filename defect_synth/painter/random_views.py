"""Random views of images for training, moved as the product may be moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.painter.window import Window, resample, window_around
from defect_synth.product.exemplar import relative_scale
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels

_OFF_CENTRE = 0.08  # share of a window by which a defect may lie off its middle
_NATURAL_SCALE_PROB = 0.6  # share of the views of normal images that have the scale of small defects
_INTERPOLATED_PROB = 0.5  # share of the views that are rotated and scaled by interpolation
_WOBBLE = 6.0  # degrees by which a product that may not be rotated is rotated at most
_ZOOM = 0.07  # logarithm by which a view is enlarged or shrunk at most


@dataclass(frozen=True, eq=False)
class _View:
    """A square part of an image, mirrored and turned, of `side` pixels.

    Attributes:
        window: Where it lies.
        side: Side of the view.
        matrix: Affine map from its pixels (x, y) to those of the image; None: the window is cut out as it is.
        scale: Pixels of the image per pixel of the view.
        mirror_x: Exchange left and right, then ...
        mirror_y: ... top and bottom, then ...
        quarter_turns: ... turn by so many times 90 degrees.
    """

    window: Window
    side: int
    matrix: NDArray[np.float32] | None
    scale: float
    mirror_x: bool
    mirror_y: bool
    quarter_turns: int

    def of_image(self, image: Pixels) -> Pixels:
        """The view of an image [H, W, 3]."""
        if self.matrix is None:
            return self._turned(self.window.cut(image, self.side))
        return self._turned(resample(image, self.matrix, self.side, cubic=True))

    def of_mask(self, mask: Pixels) -> Pixels:
        """The view of a mask [H, W]; thin lines survive shrinking."""
        if self.matrix is None:
            return self._turned(self.window.cut(mask, self.side))
        soft = resample(mask * np.uint8(255), self.matrix, self.side, border=cv2.BORDER_CONSTANT)  # no defect beyond it
        return self._turned((soft >= (64 if self.scale > 1.1 else 128)).astype(np.uint8))

    def _turned(self, array: NDArray[Any]) -> Pixels:
        for axis, mirrored in ((1, self.mirror_x), (0, self.mirror_y)):
            array = np.flip(array, axis) if mirrored else array
        return np.ascontiguousarray(np.rot90(array, self.quarter_turns))


class RandomViews:
    """Cuts views [S, S] out of images.

    Real and normal views go through the same resampling: interpolation blurs, and the discriminators would see that
    before they see a defect.

    Args:
        side: S, in pixels.
        symmetry: How the product may be moved.
        reference: The longer side of a typical training image, in pixels.
    """

    def __init__(self, side: int, symmetry: Symmetry, reference: int) -> None:
        self._side, self._symmetry, self._reference = side, symmetry, reference

    def around(self, rng: np.random.Generator, image: Pixels, mask: Pixels, part: Pixels) -> tuple[Pixels, Pixels]:
        """A view of image [H, W, 3] and mask [H, W] around a part of the mask, which lies a little off the middle."""
        window = window_around(part, self._side, relative_scale(part.shape, self._reference))
        off = _OFF_CENTRE * window.size
        top, left = window.top + round(rng.uniform(-off, off)), window.left + round(rng.uniform(-off, off))
        view = self._draw(rng, Window(top, left, window.size))
        return view.of_image(image), view.of_mask(mask)

    def anywhere(self, rng: np.random.Generator, image: Pixels) -> Pixels:
        """A view of any part of an image [H, W, 3], mostly at the scale at which small defects are seen."""
        height, width = image.shape[:2]
        smallest, largest = max(8, round(self._side * relative_scale(image.shape, self._reference))), max(height, width)
        natural = rng.random() < _NATURAL_SCALE_PROB or largest <= smallest
        size = smallest if natural else int(rng.integers(smallest, largest + 1))
        top, left = (int(rng.integers(min(0, n - size), max(0, n - size) + 1)) for n in (height, width))
        return self._draw(rng, Window(top, left, size)).of_image(image)

    def _draw(self, rng: np.random.Generator, window: Window) -> _View:
        """A view of a window: half of them are rotated and scaled a little, which needs interpolation."""
        turns, matrix, scale = self._symmetry.turns, None, window.size / self._side
        if rng.random() < _INTERPOLATED_PROB:
            degrees = rng.uniform(-180, 180) if turns == "any" else rng.uniform(-_WOBBLE, _WOBBLE)
            scale = float(np.exp(rng.uniform(-_ZOOM, _ZOOM))) * window.size / self._side
            matrix = _rotation(window, self._side, float(degrees), scale)
        mirror_x = self._symmetry.mirror_x and rng.random() < 0.5
        mirror_y = self._symmetry.mirror_y and rng.random() < 0.5
        quarter_turns = 0
        if turns in ("any", "quarter"):
            quarter_turns = int(rng.integers(4))
        elif turns == "half":
            quarter_turns = 2 * int(rng.integers(2))
        return _View(window, self._side, matrix, scale, mirror_x, mirror_y, quarter_turns)


def _rotation(window: Window, side: int, degrees: float, scale: float) -> NDArray[np.float32]:
    """Affine map from the pixels (x, y) of a view to those of the image, about the middle of a window."""
    cos, sin = np.cos(np.deg2rad(degrees)) * scale, np.sin(np.deg2rad(degrees)) * scale
    turn = np.array([[cos, sin], [-sin, cos]])
    middle = np.array([window.left, window.top]) + (window.size - 1) / 2
    shift = middle - turn @ np.full(2, (side - 1) / 2)
    matrix: NDArray[np.float32] = np.concatenate([turn, shift[:, None]], axis=1).astype(np.float32)
    return matrix
