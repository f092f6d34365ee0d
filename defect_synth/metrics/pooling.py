"""What the feature extractors share: batches, resizing, and pooling of feature maps over the image and the defect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_BATCH = 16  # images per forward pass: bounds memory, changes no value


def in_batches(
    compute: Callable[[Tensor, Tensor | None], Tensor],
    images: Tensor,
    masks: Tensor | None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Apply `compute` to 16 images at a time without gradients.

    Args:
        compute: Images and masks of a batch -> features [n, D].
        images: uint8 [N, 3, H, W].
        masks: uint8 [N, H, W] or None.
        dtype: Of the result.

    Returns:
        [N, ...] on the device of `images`.

    Raises:
        ValueError: `images` or `masks` have another type or shape.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not len(images):
        raise ValueError(f"images must be uint8 [N, 3, H, W], got {images.dtype} {list(images.shape)}")
    if masks is not None and (masks.dtype != torch.uint8 or masks.shape != (len(images), *images.shape[2:])):
        expected = [len(images), *images.shape[2:]]
        raise ValueError(f"masks must be uint8 {expected}, got {masks.dtype} {list(masks.shape)}")
    with torch.no_grad():
        parts = [
            compute(images[i : i + _BATCH], None if masks is None else masks[i : i + _BATCH]).to(images.device, dtype)
            for i in range(0, len(images), _BATCH)
        ]
    return torch.cat(parts)


def at_one_stride(maps: Sequence[Tensor]) -> Tensor:
    """Feature maps, each [N, C, h, w], enlarged to the size of the first one and stacked: [N, sum of C, h, w]."""
    size = maps[0].shape[2:]
    larger = [F.interpolate(each, size, mode="bilinear", align_corners=False) for each in maps[1:]]
    return torch.cat([maps[0], *larger], dim=1)


def pool(maps: Sequence[Tensor], masks: Tensor | None) -> Tensor:
    """Mean and standard deviation of each channel, over the image and, with masks, also around the defect.

    Args:
        maps: Feature maps, each [N, C, h, w].
        masks: uint8 [N, H, W] or None.

    Returns:
        [N, 2 * sum of C], twice as many columns with masks.
    """
    parts = [moment for x in maps for moment in _moments(x, x.new_ones(len(x), 1, *x.shape[2:]))]
    if masks is not None:
        near = dilate(masks)
        for x in maps:
            parts += _moments(x, F.interpolate(near.to(x), x.shape[2:], mode="area"))
    return torch.cat(parts, dim=1)


def dilate(masks: Tensor) -> Tensor:
    """Masks grown by 1/32 of the image side, uint8 [N, H, W] -> float32 [N, 1, H, W] of 0 and 1.

    The rim around a defect belongs to its features, because it shows whether the defect fits into its surroundings.
    """
    radius = max(1, min(masks.shape[1:]) // 32)
    return F.max_pool2d((masks > 0).float()[:, None], 2 * radius + 1, stride=1, padding=radius)


def resize(images: Tensor, size: int | None) -> Tensor:
    """Images as float32 0..255, resized to a square of `size` pixels with antialiasing; None keeps their size."""
    x = images.float()
    if size is None or x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)


def _moments(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation [N, C] of x [N, C, h, w]; both are 0 where all weights are 0.

    An empty mask thus becomes a point of its own, far from all real defects once features are standardised.
    """
    total = weight.sum(dim=(2, 3)).clamp_min(1e-12)
    mean = (x * weight).sum(dim=(2, 3)) / total
    variance = ((x - mean[:, :, None, None]).square() * weight).sum(dim=(2, 3)) / total
    return mean, variance.sqrt()
