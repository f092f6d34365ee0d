"""Training images in memory, batched by iteration."""

from __future__ import annotations

import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.engine.draws import Draws, batch_indices
from defect_synth.samples import mask_to_signal, pixels_to_signal

_MIRROR_STREAM = 90


class ImageBatches:
    """An endless, reshuffled stream of images and masks; batch i is a function of (seed, i).

    Args:
        images: At least one image.
        batch: Images per iteration.
        seed: Seed of the order and of mirroring.
        device: Where the batches go.
        mirror: Mirror half of the images, with their masks.
    """

    def __init__(
        self, images: ImageArrays, batch: int, seed: int, device: torch.device, *, mirror: bool = False
    ) -> None:
        self._images = torch.from_numpy(images.images).permute(0, 3, 1, 2)  # uint8 [N, 3, R, R], channels last
        self._masks = torch.from_numpy(images.masks)[:, None]
        self.batch_size, self._seed, self._device, self._mirror = batch, seed, device, mirror

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, R, R] and masks [B, 1, R, R] of one iteration, as signal in [-1, 1]."""
        chosen = self.indices(iteration)
        images, masks = self._images[chosen].to(self._device), self._masks[chosen].to(self._device)
        if self._mirror:
            flip = Draws(self._seed, iteration, _MIRROR_STREAM, self._device).uniform(0, self.batch_size) < 0.5
            images = torch.where(flip[:, None, None, None].to(images.device), images.flip(3), images)
            masks = torch.where(flip[:, None, None, None].to(masks.device), masks.flip(3), masks)
        return pixels_to_signal(images), mask_to_signal(masks)

    def indices(self, iteration: int) -> Tensor:
        """Which images one iteration shows, int64 [B]."""
        first = iteration * self.batch_size
        return torch.from_numpy(batch_indices(self._seed, first, self.batch_size, len(self._images)))
