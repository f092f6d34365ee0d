"""Synthetic defects in place of the Perlin noise that Draem, Dsr and Glass of anomalib train on.

    model = Draem(dtd_dir=...)
    model.augmenter = DefectAnomalyGenerator("runs/bottle/bank")

It follows the call convention of anomalib's generators, but works without anomalib.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from defect_synth.augment import DefectAugmenter
from defect_synth.errors import ConfigError
from defect_synth.samples import unit_to_pixels


class DefectAnomalyGenerator(nn.Module):
    """Paints a defect on each image of a batch with probability `probability`.

    Replaces `Draem.augmenter`, `Dsr.perlin_generator` and `Glass.model.augmentor`.

    Args:
        source: Anything that `DefectAugmenter` accepts.
        probability: Share of the images that get a defect.
        defects: Defect categories; None: all of the source.
        severity: Strength of the defects; a number, or a range to draw from.
        seed: Together with the number of images so far it fixes all random choices, so each epoch has new defects.

    Raises:
        ConfigError: `probability` is outside [0, 1].
    """

    def __init__(
        self,
        source: Any,
        probability: float = 0.5,
        *,
        defects: Sequence[str] | None = None,
        severity: float | tuple[float, float] = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= probability <= 1:
            raise ConfigError(f"probability must be between 0 and 1, got {probability}")
        self.augmenter = DefectAugmenter(source, defects=defects, severity=severity)
        self.probability = probability
        self.seed = seed
        self.num_seen = 0

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Add defects to images and return their masks.

        Args:
            images: [C, H, W] or [B, C, H, W] with 1 or 3 channels, float in [0, 1], before any normalisation.

        Returns:
            Images of the same shape, dtype and device, equal to the input outside the masks, and float masks [1, H, W]
            or [B, 1, H, W] in {0, 1}.

        Raises:
            ConfigError: Values are outside [0, 1], so the images must have been normalised.
        """
        single = images.ndim == 3
        batch = images[None] if single else images
        low, high = float(batch.min()), float(batch.max())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # also for NaN
            raise ConfigError(
                f"expected images in [0, 1], got values from {low:.2f} to {high:.2f}; paint before the normalisation"
            )
        painted, masks = batch.clone(), batch.new_zeros((len(batch), 1, *batch.shape[2:]))
        for i, image in enumerate(batch):
            rng = np.random.default_rng([self.seed, self.num_seen])
            self.num_seen += 1
            if rng.random() >= self.probability:
                continue
            painted[i], masks[i, 0] = paint_tensor(self.augmenter, image, rng)
        return (painted[0], masks[0]) if single else (painted, masks)


def paint_tensor(augmenter: DefectAugmenter, image: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Add a defect to one image.

    Args:
        augmenter: Paints.
        image: float [C, H, W] in [0, 1] with 1 or 3 channels.
        rng: The source of all random choices.

    Returns:
        The image, equal to the input outside the mask, and the mask, [H, W] in {0, 1}, of the same dtype and device.
    """
    pixels = unit_to_pixels(image.detach()).cpu().permute(1, 2, 0).numpy()
    grey = pixels.shape[2] == 1
    sample = augmenter(np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if grey else pixels), rng)
    mask = torch.from_numpy(sample.mask.astype(np.float32)).to(image.device, image.dtype)
    drawn = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1))).to(image.device, image.dtype) / 255
    if grey:
        drawn = drawn.mean(dim=0, keepdim=True)
    return torch.where(mask.bool(), drawn, image), mask
