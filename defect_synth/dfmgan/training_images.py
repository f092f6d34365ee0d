"""Real images as the phases see them: held as uint8, batched by iteration, augmented with the current p."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from defect_synth.config import StageConfig
from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.ada import NUM_UNIFORMS, AdaController, Augmentation, augment, augment_pair, draw
from defect_synth.engine.draws import Draws, batch_indices
from defect_synth.samples import mask_to_signal, pixels_to_signal


class Reals(Protocol):
    """Real images with an augmentation, as the phases of stage 1 ask for them."""

    @property
    def ada(self) -> AdaController:
        """What moves the augmentation's strength."""
        ...

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, R, R] and masks [B, 1, R, R] of one iteration, as signal in [-1, 1]."""
        ...

    def augmentation(self, draws: Draws, stream: int) -> Any:
        """Whatever is drawn for a whole batch."""
        ...

    def part(self, augmentation: Any, start: int, stop: int) -> Callable[[Tensor], Tensor]:
        """The augmentation of samples start..stop as a function of images."""
        ...


class AugmentedReals:
    """All real images of a stage in memory, and the augmentation whose strength follows D's overfitting."""

    def __init__(
        self, images: ImageArrays, config: StageConfig, seed: int, device: torch.device, *, cap_p: bool = True
    ) -> None:
        self._images = torch.from_numpy(images.images).permute(0, 3, 1, 2)  # uint8 [N, 3, R, R], channels last
        self._masks = torch.from_numpy(images.masks)[:, None]
        self._config, self._seed, self._device = config, seed, device
        self._size = images.resolution
        self.ada = AdaController(config.augment, batch=config.batch, max_p=config.augment.max_p if cap_p else None)

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, R, R] and masks [B, 1, R, R] of one iteration, as signal in [-1, 1]."""
        size, chosen = self._config.batch, self.indices(iteration)
        images, masks = self._images[chosen].to(self._device), self._masks[chosen].to(self._device)
        if self._config.mirror:
            flip = Draws(self._seed, iteration, 90, self._device).uniform(0, size) < 0.5
            images = torch.where(flip[:, None, None, None].to(images.device), images.flip(3), images)
            masks = torch.where(flip[:, None, None, None].to(masks.device), masks.flip(3), masks)
        return pixels_to_signal(images), mask_to_signal(masks)

    def indices(self, iteration: int) -> Tensor:
        """Which images one iteration shows, int64 [B]."""
        size = self._config.batch
        return torch.from_numpy(batch_indices(self._seed, iteration * size, size, len(self._images)))

    def augmentation(self, draws: Draws, stream: int) -> Augmentation | None:
        """Parameters for a whole batch at the current p; None where nothing would happen."""
        config = self._config.augment
        if config.mode == "none" or self.ada.p <= 0:
            return None
        uniforms = draws.uniform(stream, self._config.batch, NUM_UNIFORMS)
        return draw(config, self.ada.p, uniforms, self._size)

    @staticmethod
    def part(augmentation: Augmentation | None, start: int, stop: int) -> Callable[[Tensor], Tensor]:
        """The augmentation of samples start..stop as a function of images."""
        if augmentation is None:
            return lambda images: images
        piece = Augmentation(augmentation.inverse[start:stop], augmentation.color[start:stop])
        return lambda images: augment(images, piece)

    @staticmethod
    def pair_part(
        augmentation: Augmentation | None, start: int, stop: int
    ) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The geometric part for image and mask together."""
        if augmentation is None:
            return lambda images, masks: (images, masks)
        piece = Augmentation(augmentation.inverse[start:stop], augmentation.color[start:stop])
        return lambda images, masks: augment_pair(images, masks, piece)
