"""What an arm feeds its classifier: batches of real and generated images with the same transforms for every arm."""

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
class Diet:
    """The training images of one arm.

    Attributes:
        real: Real images; they also set how frequent each label is.
        synthetic: Generated images or None.
        share: Share of each batch that is generated. A label without any generated image stays real.
        sampling: Labels of a batch: as frequent as among the real images, or all equally likely.

    Raises:
        DataError: Sets that do not fit together, or a label without any image.
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
    """Refuse sets with other classes or sizes.

    Raises:
        DataError: Names the difference.
    """
    if other.classes != train.classes:
        raise DataError(f"classes differ: train {', '.join(train.classes)}; {name} {', '.join(other.classes)}")
    if other.size != train.size:
        raise DataError(f"sizes differ: train images are {train.size}, {name} images {other.size}; load both alike")


class BatchSampler:
    """Draws training batches: labels first, then an image for each, of which a share is generated.

    Args:
        diet: What to draw from.
        batch: Images per step.
        with_masks: Whether the mask is a fourth channel of each image, 1 on the defect.
    """

    def __init__(self, diet: Diet, batch: int, *, with_masks: bool = False) -> None:
        self._real = _ByLabel(diet.real, with_masks)
        self._synthetic = None if diet.synthetic is None else _ByLabel(diet.synthetic, with_masks)
        self._labels = torch.from_numpy(diet.real.labels)
        self._classes = len(diet.real.classes)
        self._diet, self._batch = diet, batch

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images uint8 [B, H, W, 3 or 4], labels int64 [B], and whether each is generated, bool [B].

        What is drawn from `generator` does not depend on there being generated images: arms with the same sampling see
        the same labels in the same order.
        """
        if self._diet.sampling == "balanced":
            labels = torch.randint(self._classes, (self._batch,), generator=generator)
        else:
            labels = self._labels[torch.randint(len(self._labels), (self._batch,), generator=generator)]
        places = torch.rand(self._batch, generator=generator)
        if self._synthetic is None:
            return self._real.pick(labels, places), labels, torch.zeros(self._batch, dtype=torch.bool)
        generated = torch.arange(self._batch) < round(self._batch * self._diet.share)
        generated &= self._synthetic.counts[labels] > 0
        images = torch.empty(self._batch, *self._real.images.shape[1:], dtype=torch.uint8)
        for pool, chosen in ((self._real, ~generated), (self._synthetic, generated)):
            if chosen.any():
                images[chosen] = pool.pick(labels[chosen], places[chosen])
        return images, labels, generated


class _ByLabel:
    """Images in the order of their labels, so that one of a label is found by arithmetic."""

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
        """An image of each label; `places` in [0, 1) says which."""
        counts = self.counts[labels]
        offsets = (places * counts).long().clamp(max=counts - 1)
        return self.images[self._order[self._starts[labels] + offsets]]


def orient(images: Tensor, generator: torch.Generator, *, flip: bool = True, rotate90: bool = True) -> Tensor:
    """Mirror at random, both ways, and turn by random quarters (halves where images are not square).

    Args:
        images: uint8 [B, H, W, C]; image and mask turn together as channels of one array.
        generator: On the CPU.
        flip: Whether to mirror.
        rotate90: Whether to turn.

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
    """Every view that `orient` can draw of uint8 [N, H, W, 3]: up to eight, the unchanged one first."""
    square = images.shape[1] == images.shape[2]
    turns = ((0, 1, 2, 3) if square else (0, 2)) if rotate90 else (0,)
    views = [np.rot90(images, quarter, (1, 2)) for quarter in turns]
    if flip:
        views += [view[:, ::-1] for view in views]
        if not rotate90 or not square:
            views += [view[:, :, ::-1] for view in views]
    return list({view.tobytes(): np.ascontiguousarray(view) for view in views}.values())


def brighten(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Multiply each image, uint8 [B, H, W, 3], by its own factor within 1 +- `strength`; rounded and clamped."""
    if strength <= 0:
        return images
    factor = 1 + strength * (2 * torch.rand(len(images), 1, 1, 1, generator=generator) - 1)
    return (images * factor).round().clamp(0, 255).to(torch.uint8)
