"""Batches of real and generated training images, with the same transforms for every arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.errors import DataError
from defect_synth.samples import Pixels

Sampling = Literal["proportional", "balanced"]


@dataclass(frozen=True, eq=False)
class TrainingMix:
    """The training images of one arm, and how batches are drawn from them.

    Attributes:
        real: Real images; they also determine how frequent each label is.
        synthetic: Generated images, or None.
        share: Share of each batch that is generated. Labels without generated images stay real.
        sampling: Labels of a batch: as frequent as among the real images, or all equally likely.

    Raises:
        DataError: Real and generated images differ in classes or size, or a label has no real image.
    """

    real: LabelledArrays
    synthetic: LabelledArrays | None = None
    share: float = 0.5
    sampling: Sampling = "proportional"

    def __post_init__(self) -> None:
        if self.synthetic is not None:
            require_alike(self.real, self.synthetic, "synthetic")
        missing = [name for label, name in enumerate(self.real.classes) if not (self.real.labels == label).any()]
        if missing:
            raise DataError(f"no training image of {', '.join(missing)}; leave it out of classes or add images")


def require_alike(train: LabelledArrays, other: LabelledArrays, name: str) -> None:
    """Refuse images of other classes or another size than the training images.

    Args:
        train: Training images.
        other: Images to compare with them.
        name: What the other images are, for the error.

    Raises:
        DataError: Names the difference.
    """
    if other.classes != train.classes:
        raise DataError(f"classes differ: train {', '.join(train.classes)}; {name} {', '.join(other.classes)}")
    if other.size != train.size:
        raise DataError(f"sizes differ: train images are {train.size}, {name} images {other.size}; load both alike")


class BatchSampler:
    """Draws training batches: labels first, then an image of each label, a share of them generated.

    Args:
        mix: What to draw from.
        batch: Images per step.
        with_masks: Whether the mask is a fourth channel of each image, 1 on the defect.
    """

    def __init__(self, mix: TrainingMix, batch: int, *, with_masks: bool = False) -> None:
        self._real = _ByLabel(mix.real, with_masks)
        self._synthetic = None if mix.synthetic is None else _ByLabel(mix.synthetic, with_masks)
        self._labels = torch.from_numpy(mix.real.labels)
        self._classes = len(mix.real.classes)
        self._mix, self._batch = mix, batch

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images uint8 [B, H, W, 3 or 4], labels int64 [B], and whether each is generated, bool [B].

        What is drawn from `generator` does not depend on the generated images, so arms with the same sampling see the
        same labels in the same order.
        """
        if self._mix.sampling == "balanced":
            labels = torch.randint(self._classes, (self._batch,), generator=generator)
        else:
            labels = self._labels[torch.randint(len(self._labels), (self._batch,), generator=generator)]
        places = torch.rand(self._batch, generator=generator)
        if self._synthetic is None:
            return self._real.pick(labels, places), labels, torch.zeros(self._batch, dtype=torch.bool)
        generated = torch.arange(self._batch) < round(self._batch * self._mix.share)
        generated &= self._synthetic.counts[labels] > 0
        images = torch.empty(self._batch, *self._real.images.shape[1:], dtype=torch.uint8)
        for images_by_label, chosen in ((self._real, ~generated), (self._synthetic, generated)):
            if chosen.any():
                images[chosen] = images_by_label.pick(labels[chosen], places[chosen])
        return images, labels, generated


class _ByLabel:
    """Images sorted by label, so that an image of a label is found by its index."""

    def __init__(self, arrays: LabelledArrays, with_masks: bool) -> None:
        images = arrays.images
        if with_masks:
            assert arrays.masks is not None
            images = np.concatenate([images, arrays.masks[..., None]], 3)
        self.images = torch.from_numpy(np.ascontiguousarray(images))
        self.counts = torch.from_numpy(np.bincount(arrays.labels, minlength=len(arrays.classes)))
        self._order = torch.from_numpy(np.argsort(arrays.labels, kind="stable"))
        self._starts = self.counts.cumsum(0) - self.counts

    def pick(self, labels: Tensor, places: Tensor) -> Tensor:
        """An image for each label, int64 [B]; `places` [B] in [0, 1) says which one."""
        counts = self.counts[labels]
        offsets = (places * counts).long().clamp(max=counts - 1)
        return self.images[self._order[self._starts[labels] + offsets]]


def orient(images: Tensor, generator: torch.Generator, *, flip: bool = True, rotate90: bool = True) -> Tensor:
    """Flip each image at random along both axes, and rotate it by a random multiple of 90 degrees (180 if not square).

    Args:
        images: uint8 [B, H, W, C]; image and mask are channels of one array, so they stay together.
        generator: Random numbers, on the CPU.
        flip: Whether to flip.
        rotate90: Whether to rotate.

    Returns:
        uint8 [B, H, W, C].
    """
    count, height, width = images.shape[:3]
    if flip:
        for axis in (1, 2):
            chosen = torch.rand(count, generator=generator) < 0.5
            images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    if rotate90:
        turns = torch.randint(4, (count,), generator=generator)
        if height != width:
            turns = turns // 2 * 2
        turned = images.clone()
        for quarter in (1, 2, 3):
            chosen = turns == quarter
            if chosen.any():
                turned[chosen] = images[chosen].rot90(quarter, (1, 2))
        images = turned
    return images


def orientations(images: Pixels, *, flip: bool = True, rotate90: bool = True) -> list[Pixels]:
    """Every orientation of uint8 [N, H, W, 3] that `orient` can draw: up to eight, the unchanged one first."""
    square = images.shape[1] == images.shape[2]
    turns = ((0, 1, 2, 3) if square else (0, 2)) if rotate90 else (0,)
    views = [np.rot90(images, quarter, (1, 2)) for quarter in turns]
    if flip:
        views += [view[:, ::-1] for view in views]
        if not rotate90 or not square:
            views += [view[:, :, ::-1] for view in views]
    return list({view.tobytes(): np.ascontiguousarray(view) for view in views}.values())


def brighten(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each image of uint8 [B, H, W, 3] by a random factor in 1 +- `strength`; rounded and clamped."""
    if strength <= 0:
        return images
    factor = 1 + strength * (2 * torch.rand(len(images), 1, 1, 1, generator=generator) - 1)
    return (images * factor).round().clamp(0, 255).to(torch.uint8)
