"""Images -> feature vectors, for KID and for choosing snapshots.

Every extractor sees the whole image and, where masks are given, also the defect alone: a few-shot defect covers a few
percent of the image and would drown in an average over all of it. The vectors of different extractors are not
comparable; write `name` beside every number made from them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from defect_synth.metrics.pooling import in_batches, pool
from defect_synth.samples import pixels_to_signal


class FeatureExtractor(Protocol):
    """Anything that turns images into vectors, one per image and independent of the other images."""

    @property
    def name(self) -> str:
        """What reports call the features."""
        ...

    @property
    def digest(self) -> str:
        """Identifies weights and settings: extractors with the same digest give the same features. Not empty."""
        ...

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """Features of each image.

        Args:
            images: uint8 [N, 3, H, W], RGB.
            masks: uint8 [N, H, W], 1 on the defect; None leaves out the features of the defect, so D is smaller.

        Returns:
            float32 [N, D] on the device of `images`.
        """
        ...


class RandomFeatures:
    """A small convolutional network with fixed random weights: no download, no licence, the same in every version.

    Three levels of stride-2 convolution and leaky ReLU; mean and standard deviation of every channel at every level.
    Random filters respond to colour, contrast, edges and texture but not to objects. That is enough to rank the
    snapshots of one category and no substitute for published KID. The weights come from NumPy, so that an upgrade of
    torch does not change them.

    Args:
        seed: Chooses the weights.
    """

    name = "random convolutions"

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.digest = f"random convolutions {seed}"
        self._kernels: list[Tensor] = []
        self._biases: list[Tensor] = []
        for inputs, outputs, size in ((3, 32, 5), (32, 48, 3), (48, 64, 3)):
            kernel = rng.standard_normal((outputs, inputs, size, size))
            # Every channel would mostly measure brightness; half of them are to see edges and texture only.
            kernel[::2] -= kernel[::2].mean(axis=(2, 3), keepdims=True)
            kernel *= np.sqrt(2 / (inputs * size * size))
            self._kernels.append(torch.from_numpy(kernel.astype(np.float32)))
            self._biases.append(torch.from_numpy(rng.normal(0, 0.2, outputs).astype(np.float32)))

    def __call__(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        """uint8 [N, 3, H, W] and uint8 [N, H, W] or None -> float32 [N, 288] or [N, 576]; H and W at least 16."""
        return in_batches(self._features, images, masks)

    def _features(self, images: Tensor, masks: Tensor | None) -> Tensor:
        return pool(self.levels(images), masks)

    def levels(self, images: Tensor) -> list[Tensor]:
        """Feature maps at strides 2, 4 and 8: uint8 [N, 3, H, W] -> float32 [N, 32, ..], [N, 48, ..], [N, 64, ..]."""
        x = pixels_to_signal(images)
        levels = []
        for kernel, bias in zip(self._kernels, self._biases, strict=True):
            # Reflection instead of zeros: the frame of the image is not a feature of the object.
            x = F.pad(x, [kernel.shape[-1] // 2] * 4, mode="reflect")
            x = F.leaky_relu(F.conv2d(x, kernel.to(x), bias.to(x), stride=2), 0.2)
            levels.append(x)
        return levels
