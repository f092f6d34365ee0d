"""Differentiable augmentation (Zhao et al. 2020): colour, translation and cutout, of training and generated images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from defect_synth.engine.draws import Draws
from defect_synth.engine.image_batches import ImageBatches

TRANSLATION = 1 / 8
"""Largest translation, as a share of the side."""
CUTOUT = 1 / 2
"""Side of the square that is cut out, as a share of the image's side."""
NUM_UNIFORMS = 7
"""Random numbers per image."""


@dataclass(frozen=True)
class DiffAugmentation:
    """The random numbers of a batch.

    Attributes:
        uniforms: float32 [N, 7] in [0, 1): brightness, saturation, contrast, translation (y, x), centre of the square
            that is cut out (y, x).
    """

    uniforms: Tensor

    def part(self, start: int, stop: int) -> DiffAugmentation:
        """Samples start..stop."""
        return DiffAugmentation(self.uniforms[start:stop])


def diff_augment(images: Tensor, drawn: DiffAugmentation) -> Tensor:
    """Augmented images, differentiable in the images.

    Brightness changes by U(-1/2, 1/2); saturation by a factor of U(0, 2), about the mean of the channels; contrast by a
    factor of U(1/2, 3/2), about the mean of the image. Images are moved by up to an eighth of their side and padded
    with zeros. A square of half the side, part of which may lie outside, is set to zero.

    Args:
        images: Signal [N, C, H, W] in about [-1, 1].
        drawn: The random numbers of N samples.

    Returns:
        [N, C, H, W].
    """
    uniforms = drawn.uniforms.to(images.device)
    return _cut_out(_translated(_with_other_colours(images, uniforms[:, :3]), uniforms[:, 3:5]), uniforms[:, 5:])


def _with_other_colours(x: Tensor, uniforms: Tensor) -> Tensor:
    brightness, saturation, contrast = (u.reshape(-1, 1, 1, 1) for u in uniforms.unbind(1))
    x = x + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = (x - grey) * (saturation * 2) + grey
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def _translated(x: Tensor, uniforms: Tensor) -> Tensor:
    n, _, height, width = x.shape
    reach_y, reach_x = int(height * TRANSLATION + 0.5), int(width * TRANSLATION + 0.5)
    shift_y = _integers(uniforms[:, 0], 2 * reach_y + 1) - reach_y
    shift_x = _integers(uniforms[:, 1], 2 * reach_x + 1) - reach_x
    rows = torch.arange(height, device=x.device) - shift_y[:, None]  # [N, H]: where each row comes from
    columns = torch.arange(width, device=x.device) - shift_x[:, None]  # [N, W]
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[:, None, None, :]
    samples = torch.arange(n, device=x.device)[:, None, None]
    rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    moved = x.permute(0, 2, 3, 1)[samples, rows[:, :, None], columns[:, None]]  # [N, H, W, C]
    return moved.permute(0, 3, 1, 2) * inside


def _cut_out(x: Tensor, uniforms: Tensor) -> Tensor:
    height, width = x.shape[2:]
    tall, wide = int(height * CUTOUT), int(width * CUTOUT)
    top = _integers(uniforms[:, 0], height + 1)[:, None] - tall // 2
    left = _integers(uniforms[:, 1], width + 1)[:, None] - wide // 2
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    in_rows = (rows >= top) & (rows < top + tall)  # [N, H]
    in_columns = (columns >= left) & (columns < left + wide)  # [N, W]
    return x * ~(in_rows[:, None, :, None] & in_columns[:, None, None, :])


def _integers(uniform: Tensor, count: int) -> Tensor:
    """[N] in [0, 1) -> integers in 0..count - 1."""
    return (uniform * count).long().clamp(max=count - 1)


class DifferentiablyAugmentedImages(ImageBatches):
    """Training images with differentiable augmentation, as `PretrainStage` takes them."""

    ada: ClassVar[None] = None

    def augmentation(self, draws: Draws, stream: int) -> DiffAugmentation:
        """The drawn parameters for a whole batch."""
        return DiffAugmentation(draws.uniform(stream, self.batch_size, NUM_UNIFORMS))

    @staticmethod
    def part(augmentation: DiffAugmentation, start: int, stop: int) -> Callable[[Tensor], Tensor]:
        """The augmentation of samples start..stop as a function of images."""
        drawn = augmentation.part(start, stop)
        return lambda images: diff_augment(images, drawn)
