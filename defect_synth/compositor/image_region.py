"""The part of an image where a defect may go, stored so that time and memory do not grow with the image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.frame import ProductFrame, product_frame
from defect_synth.samples import Pixels

Box = tuple[int, int, int, int]

GRID = 128  # points along the longer side of the grid on which places are searched


class ImageRegion:
    """The intersection of masks that each cover the whole image, at any resolution.

    Args:
        shape: Height and width of the image.
        layers: Masks [h, w]; everything above 0 is inside. Without layers the region is the whole image.
    """

    def __init__(self, shape: tuple[int, int], *layers: NDArray[Any]) -> None:
        self.shape = shape
        self._layers = [np.ascontiguousarray(layer > 0).astype(np.uint8) for layer in layers]
        side = min(GRID, max(shape))
        size = (max(8, round(shape[1] * side / max(shape))), max(8, round(shape[0] * side / max(shape))))
        grid = np.ones((size[1], size[0]), np.uint8)
        for layer in self._layers:
            # Averaged by area with a low threshold, so that a thin region drawn by a user does not vanish.
            grid &= (cv2.resize(layer * np.uint8(255), size, interpolation=cv2.INTER_AREA) >= 64).astype(np.uint8)
        self.grid: Pixels = grid

    @property
    def is_whole(self) -> bool:
        """Whether the region is the whole image."""
        return bool(self.grid.all())

    def grown(self, pixels: float) -> ImageRegion:
        """The region and what is up to `pixels` pixels off it."""
        layers = []
        for layer in self._layers:
            distance = cv2.distanceTransform(1 - layer, cv2.DIST_L2, 5) * (max(self.shape) / max(layer.shape))
            layers.append(distance <= pixels)
        return ImageRegion(self.shape, *layers)

    def frame(self) -> ProductFrame:
        """Centre (y, x) and radius of the region, in pixels of the image."""
        y, x, radius = product_frame(self.grid.astype(bool))
        sy, sx = self.shape[0] / self.grid.shape[0], self.shape[1] / self.grid.shape[1]
        return ProductFrame((y + 0.5) * sy - 0.5, (x + 0.5) * sx - 0.5, radius * float(np.sqrt(sy * sx)))

    def weight(self, box: Box) -> NDArray[np.float32]:
        """Weight of each pixel of `box` (y0, x0, y1, x1): float32, 1 inside, 0 outside, smooth at the outline."""
        y0, x0, y1, x1 = box
        out = np.ones((y1 - y0, x1 - x0), np.float32)
        for layer in self._layers:
            if layer.shape == self.shape:
                out = np.minimum(out, layer[y0:y1, x0:x1])
                continue
            sy, sx = layer.shape[0] / self.shape[0], layer.shape[1] / self.shape[1]
            back = np.array([[sx, 0, (x0 + 0.5) * sx - 0.5], [0, sy, (y0 + 0.5) * sy - 0.5]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            # Smoothed, so that the pixels of a small mask do not show as steps on a large image.
            smooth = cv2.GaussianBlur(layer.astype(np.float32), (0, 0), 1.0)
            seen = cv2.warpAffine(smooth, back, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE)
            out = np.minimum(out, np.clip(2 * seen - 1, 0, 1))  # fades towards the inside, never onto the background
        return out

    def random_point(self, radius: float, rng: np.random.Generator) -> tuple[float, float] | None:
        """A random point (x, y) at least about `radius` pixels inside, or as deep as the region allows.

        Returns None if the region is empty.
        """
        sy, sx = self.shape[0] / self.grid.shape[0], self.shape[1] / self.grid.shape[1]
        depth = cv2.distanceTransform(np.pad(self.grid, 1), cv2.DIST_L2, 3)[1:-1, 1:-1] * min(sy, sx)
        deep = depth >= min(radius, 0.8 * float(depth.max(initial=0)))
        rows, columns = np.nonzero(deep & (self.grid > 0))
        if not len(rows):
            return None
        k = int(rng.integers(len(rows)))
        jitter = rng.random(2)
        return float((columns[k] + jitter[0]) * sx - 0.5), float((rows[k] + jitter[1]) * sy - 0.5)
