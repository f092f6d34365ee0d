"""`DefectPaint`: the augmenter as a transform for torchvision v2 pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np

from defect_synth.augment import DefectAugmenter
from defect_synth.errors import ConfigError, DataError


class DefectPaint:
    """`DefectAugmenter` as a transform for torchvision v2 pipelines: `image, mask = paint(image, mask)`.

    Like the transforms of torchvision it uses the global random generator of torch, which a DataLoader seeds for each
    worker and epoch. Images are tensors [C, H, W] with 1 or 3 channels, uint8 or float in [0, 1], or arrays [H, W, C];
    masks are [H, W] or [1, H, W]. Put it before any normalisation. Types are kept, including `tv_tensors`.

    Args:
        augmenter: Paints.
        p: Probability of painting.
        mask_value: Value of painted pixels in the mask.

    Raises:
        ConfigError: `p` is outside [0, 1].
    """

    def __init__(self, augmenter: DefectAugmenter, p: float = 0.5, mask_value: int = 1) -> None:
        if not 0 <= p <= 1:
            raise ConfigError(f"p must be between 0 and 1, got {p}")
        self.augmenter, self.p, self.mask_value = augmenter, p, mask_value

    def __call__(self, image: Any, mask: Any) -> tuple[Any, Any]:
        """The image with defects and the mask with them added; the inputs themselves if nothing is painted.

        Raises:
            DataError: The arguments are not one image and its mask.
        """
        import torch

        _require_pair(image, mask)
        if float(torch.rand(())) >= self.p:
            return image, mask
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        if not isinstance(image, torch.Tensor):
            painted = self.augmenter.apply(image, rng)
            return painted.image, np.where(painted.mask > 0, np.asarray(self.mask_value, mask.dtype), mask)
        array = np.ascontiguousarray(image.as_subclass(torch.Tensor).cpu().numpy().transpose(1, 2, 0))
        painted = self.augmenter.apply(array, rng)
        if not painted.mask.any():
            return image, mask
        out = torch.from_numpy(np.ascontiguousarray(painted.image.transpose(2, 0, 1))).to(image.device)
        inside = torch.from_numpy(painted.mask > 0).to(mask.device)
        out_mask = mask.as_subclass(torch.Tensor).masked_fill(inside, self.mask_value)
        return out.as_subclass(type(image)), out_mask.as_subclass(type(mask))


def _require_pair(image: Any, mask: Any) -> None:
    shape, size = tuple(getattr(image, "shape", ())), tuple(getattr(mask, "shape", ()))
    is_array = isinstance(image, np.ndarray)
    sides = shape[:2] if is_array else shape[-2:]
    if len(shape) not in ((2, 3) if is_array else (3,)):
        raise DataError(
            f"expected one image, [C, H, W] or an array [H, W, C], got {list(shape)}; paint before batching"
        )
    if size not in (sides, (1, *sides)):
        raise DataError(f"the mask is {list(size)}, the image {list(shape)}; give one [H, W] or [1, H, W] of its size")
