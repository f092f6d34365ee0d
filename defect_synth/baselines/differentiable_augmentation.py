"""Differentiable augmentation (Zhao et al. 2020): colour, translation and cutout of real and generated images alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from defect_synth.engine.draws import Draws
from defect_synth.engine.image_batches import ImageBatches

TRANSLATION = 1 / 8  # of the side, at most
CUTOUT = 1 / 2  # of the side
NUM_UNIFORMS = 7


@dataclass(frozen=True)
class DiffAugmentation:
    """What was drawn for a batch: uniforms in [0, 1), float32 [N, 7].

    In order: brightness, saturation, contrast, shift (y, x), place of the hole (y, x).
    """

    uniforms: Tensor

    def part(self, start: int, stop: int) -> DiffAugmentation:
        """Samples start..stop."""
        return DiffAugmentation(self.uniforms[start:stop])


def diff_augment(images: Tensor, drawn: DiffAugmentation) -> Tensor:
    """Apply what was drawn; gradients flow through.

    Args:
        images: Signal [N, C, H, W] in about [-1, 1].
        drawn: For N samples.

    Returns:
        [N, C, H, W]: brightness + U(-1/2, 1/2); saturation x U(0, 2) about the mean over channels; contrast
        x U(1/2, 3/2) about the image's mean; moved by up to an eighth of the side, zeros moving in; a square of half
        the side zeroed, of which a part may lie outside.
    """
    n, _, height, width = images.shape
    u = drawn.uniforms.to(images.device)
    brightness, saturation, contrast = (u[:, i].reshape(n, 1, 1, 1) for i in range(3))
    x = images + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (saturation * 2) + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = (x - mean) * (contrast + 0.5) + mean
    reach_y, reach_x = int(height * TRANSLATION + 0.5), int(width * TRANSLATION + 0.5)
    shift_y, shift_x = _place(u[:, 3], 2 * reach_y + 1) - reach_y, _place(u[:, 4], 2 * reach_x + 1) - reach_x
    rows = torch.arange(height, device=x.device) - shift_y[:, None]  # [N, H]: where each row comes from
    columns = torch.arange(width, device=x.device) - shift_x[:, None]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    samples = torch.arange(n, device=x.device)[:, None, None]
    moved = x.permute(0, 2, 3, 1)[samples, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    x = moved.permute(0, 3, 1, 2) * inside
    top = _place(u[:, 5], height + 1) - int(height * CUTOUT) // 2
    left = _place(u[:, 6], width + 1) - int(width * CUTOUT) // 2
    y, z = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    in_rows = (y >= top[:, None]) & (y < top[:, None] + int(height * CUTOUT))
    in_columns = (z >= left[:, None]) & (z < left[:, None] + int(width * CUTOUT))
    return x * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


def _place(uniform: Tensor, count: int) -> Tensor:
    """[N] in [0, 1) -> integers in 0..count - 1."""
    return (uniform * count).long().clamp(max=count - 1)


class DifferentiablyAugmentedImages(ImageBatches):
    """Training images as `PretrainStage` takes them, with this augmentation instead of ADA."""

    ada: ClassVar[None] = None

    def augmentation(self, draws: Draws, stream: int) -> DiffAugmentation:
        """The drawn parameters for a whole batch."""
        return DiffAugmentation(draws.uniform(stream, self.batch_size, NUM_UNIFORMS))

    @staticmethod
    def part(augmentation: DiffAugmentation, start: int, stop: int) -> Callable[[Tensor], Tensor]:
        """The augmentation of samples start..stop as a function of images."""
        drawn = augmentation.part(start, stop)
        return lambda images: diff_augment(images, drawn)
