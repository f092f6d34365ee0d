"""The random numbers of training as functions of (seed, iteration, phase): a resumed run needs no generator state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class Draws:
    """The random numbers of one phase of one iteration; a stream does not depend on other streams or their order."""

    def __init__(self, seed: int, iteration: int, phase: int, device: torch.device) -> None:
        self._key = (seed, iteration, phase)
        self._device = device

    def normal(self, stream: int, *shape: int) -> Tensor:
        """Standard normal numbers, float32, on the device."""
        return torch.randn(shape, generator=self._generator(stream), device=self._device)

    def uniform(self, stream: int, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), float32, on the CPU."""
        return torch.rand(shape, generator=self._generator(stream, torch.device("cpu")))

    def _generator(self, stream: int, device: torch.device | None = None) -> torch.Generator:
        words = np.random.SeedSequence((*self._key, stream)).generate_state(1, np.uint64)
        generator = torch.Generator(device or self._device)
        generator.manual_seed(int(words[0]) >> 1)
        return generator


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """Order of the `size` training images in one epoch."""
    return np.random.default_rng((seed, 0x0DE5, epoch)).permutation(size)


def batch_indices(seed: int, first: int, batch: int, size: int) -> np.ndarray:
    """Which training images are at the places first .. first + batch - 1 of an endless reshuffled stream."""
    epochs = range(first // size, (first + batch - 1) // size + 1)
    stream = np.concatenate([epoch_order(seed, epoch, size) for epoch in epochs])
    start = first - epochs[0] * size
    return stream[start : start + batch]
