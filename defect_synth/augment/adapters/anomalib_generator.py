"""Our defects behind anomalib's generator call: images in, images and masks out, as Draem, Dsr and Glass expect.

    model = Draem(dtd_dir=...)
    model.augmenter = DefectAnomalyGenerator("runs/bottle/bank")

Works without anomalib; only the call convention is its.
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
        source: What `DefectAugmenter` accepts: "demo", a path or an object.
        probability: Share of the images that get a defect.
        defects: Which defects; None: all.
        severity: Strength, a number or a range.
        seed: With the number of images seen so far it fixes every draw; a new epoch draws new defects.

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
        self.drawn = 0

    @torch.no_grad()
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Defect images and their masks.

        Args:
            images: [C, H, W] or [B, C, H, W] with 1 or 3 channels, float in [0, 1], before any normalisation.

        Returns:
            Images of the same shape, type and device, equal to the input outside the masks (up to the rounding to
            8 bits inside them only), and float masks [1, H, W] or [B, 1, H, W] in {0, 1}.

        Raises:
            ConfigError: Values outside [0, 1]: the images are normalised already.
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
            rng = np.random.default_rng([self.seed, self.drawn])
            self.drawn += 1
            if rng.random() >= self.probability:
                continue
            painted[i], masks[i, 0] = paint_signal(self.augmenter, image, rng)
        return (painted[0], masks[0]) if single else (painted, masks)


def paint_signal(augmenter: DefectAugmenter, image: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One image [C, H, W] in [0, 1] -> (image, mask [H, W] in {0, 1}); every value outside the mask is untouched."""
    pixels = unit_to_pixels(image.detach()).cpu().permute(1, 2, 0).numpy()
    grey = pixels.shape[2] == 1
    sample = augmenter(np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if grey else pixels), rng)
    mask = torch.from_numpy(sample.mask.astype(np.float32)).to(image.device, image.dtype)
    drawn = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1))).to(image.device, image.dtype) / 255
    if grey:
        drawn = drawn.mean(dim=0, keepdim=True)
    return torch.where(mask.bool(), drawn, image), mask
