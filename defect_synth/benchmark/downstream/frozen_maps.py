"""Feature maps of a frozen network, computed once for each image, on which small heads are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import RandomFeatures
from defect_synth.metrics.pooling import at_one_stride, in_batches, resize
from defect_synth.samples import Pixels

_CHUNK = 32  # maps in float32 at a time


class FrozenMaps(Protocol):
    """A frozen network.

    Attributes:
        name: For the report.
        digest: Identifies its weights and the size of its input.
    """

    name: str
    digest: str

    def maps(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float16 [N, C, h, w]; those of an image do not depend on the others."""
        ...


class RandomMaps:
    """Maps of fixed random convolutions, which need no file; see `RandomFeatures`."""

    name = RandomFeatures.name

    def __init__(self, side: int) -> None:
        self._features, self._side = RandomFeatures(), side
        self.digest = f"{self._features.digest} at {side}"

    def maps(self, images: Tensor) -> Tensor:
        """See `FrozenMaps.maps`; 144 channels."""
        return in_batches(lambda batch, _: self._maps(batch), images, None, dtype=torch.float16)

    def _maps(self, images: Tensor) -> Tensor:
        fine, middle, coarse = self._features.levels(resize(images, self._side).round().to(torch.uint8))
        return at_one_stride([middle, F.avg_pool2d(fine, 2), coarse])


def load_frozen_maps(weights: Path | None, side: int, device: str) -> FrozenMaps:
    """The network: EfficientNet-Lite0 from a file, or random convolutions, which need none.

    Raises:
        CheckpointError: The weights file is missing or belongs to another network.
    """
    return RandomMaps(side) if weights is None else EfficientNetLite0(weights, size=side).to(device)


def maps_of(network: FrozenMaps, images: Pixels) -> Tensor:
    """Feature maps of images uint8 [N, H, W, 3] -> float16 [N, C, h, w] on the CPU."""
    planes = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    return network.maps(planes).cpu()


def masks_at_stride(masks: Pixels, size: tuple[int, int]) -> Tensor:
    """Masks uint8 [N, H, W] on a map of `size`: float32 [N, 1, h, w], 1 where 0.3 of the position is defect."""
    planes = torch.from_numpy(np.ascontiguousarray(masks)).float()[:, None]
    return (F.interpolate(planes, size, mode="area") > 0.3).float()


class Standardisation:
    """Brings every channel of feature maps to mean 0 and deviation 1 over the positions of given maps.

    Args:
        maps: float16 [N, C, h, w].
    """

    def __init__(self, *maps: Tensor) -> None:
        count, total, squares = 0, torch.zeros(maps[0].shape[1]), torch.zeros(maps[0].shape[1])
        for part in (part for each in maps for part in torch.split(each, _CHUNK)):
            values = part.float()
            total += values.sum((0, 2, 3))
            squares += values.square().sum((0, 2, 3))
            count += values.shape[0] * values.shape[2] * values.shape[3]
        self._mean = total / count
        self._deviation = (squares / count - self._mean.square()).clamp_min(1e-8).sqrt()

    def apply_(self, maps: Tensor) -> Tensor:
        """Standardise maps float16 [N, C, h, w] in place, and return them."""
        for part in torch.split(maps, _CHUNK):
            part.copy_((part.float() - self._mean[:, None, None]) / self._deviation[:, None, None])
        return maps
