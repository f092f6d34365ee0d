"""Training images with the augmentation of what discriminators see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.ada import NUM_UNIFORMS, AdaController, Augmentation, augment, augment_pair, draw
from defect_synth.dfmgan.config import AdversarialStageConfig
from defect_synth.engine.draws import Draws
from defect_synth.engine.image_batches import ImageBatches


class AugmentedImages(Protocol):
    """Training images and an augmentation of the discriminator's inputs, as the phases of stage 1 use them."""

    @property
    def ada(self) -> AdaController | None:
        """Adapts the strength of the augmentation; None where it is fixed."""
        ...

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Images [B, 3, R, R] and masks [B, 1, R, R] of one iteration, as signal in [-1, 1]."""
        ...

    def augmentation(self, draws: Draws, stream: int) -> Any:
        """The drawn parameters for a whole batch."""
        ...

    def part(self, augmentation: Any, start: int, stop: int) -> Callable[[Tensor], Tensor]:
        """The augmentation of samples start..stop as a function of images."""
        ...


class AdaImages(ImageBatches):
    """Training images with adaptive discriminator augmentation (Karras et al. 2020a)."""

    def __init__(
        self, images: ImageArrays, config: AdversarialStageConfig, seed: int, device: torch.device, *,
        cap_p: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(images, config.batch, seed, device, mirror=config.mirror)
        self._config, self._size = config, images.resolution
        self.ada = AdaController(config.augment, batch=config.batch, max_p=config.augment.max_p if cap_p else None)

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
