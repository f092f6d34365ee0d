"""Training batches of the painter: views of real defects, of normal images, and paintings to make.

Every batch is a function of (seed, iteration).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from defect_synth.painter.appearance import appearance, recolour
from defect_synth.painter.codes import Floats, PaintingCodes, draw_codes
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.donors import MIN_COVERAGE, DonorBank
from defect_synth.painter.random_views import RandomViews
from defect_synth.painter.training_images import DefectImage, NormalImage, cut_exemplars
from defect_synth.painter.window import split_mask, window_around
from defect_synth.product.exemplar import Exemplar, reference_side, relative_scale
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import Pixels

ProposeMask = Callable[[str, NormalImage, int], Pixels]
"""(defect, image that it goes on, seed) -> mask [H, W]: see `MaskSource.propose`."""


@dataclass(frozen=True, eq=False)
class RealBatch:
    """Views of real defects.

    Attributes:
        view: Signal, [N, 3, S, S].
        mask: 0 or 1, [N, 1, S, S].
        label: Index of the defect, int64 [N].
    """

    view: Tensor
    mask: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class PaintingBatch:
    """Paintings to make.

    Attributes:
        view: What to paint on, signal, [N, 3, S, S].
        mask: 0 or 1, [N, 1, S, S].
        donor: A defect under the mask, signal, [N, 3, S, S]; the view elsewhere.
        has_donor: Whether the painting starts from its donor, bool [N].
        codes: The random part.
        label: Index of the defect, int64 [N].
    """

    view: Tensor
    mask: Tensor
    donor: Tensor
    has_donor: Tensor
    codes: PaintingCodes[Tensor]
    label: Tensor


@dataclass(frozen=True, eq=False)
class _Task:
    """One painting of a batch, as pixels: view and donor [S, S, 3], mask [S, S]."""

    view: Pixels
    mask: Pixels
    donor: Pixels
    has_donor: bool
    label: int


class _DefectPool:
    """Training images of one defect: its visible parts, its triplets, and its donors."""

    def __init__(self, images: Sequence[DefectImage], side: int, reference: int, symmetry: Symmetry) -> None:
        self.parts = [
            (item, part)
            for item in images
            for part in split_mask(item.mask, side, relative_scale(item.mask.shape, reference))
        ]
        self.triplets = [(item, part) for item, part in self.parts if item.clean is not None]
        self.exemplars = cut_exemplars(images, side, reference)
        assert self.exemplars, "donors are real defects"
        self.donors = DonorBank(self.exemplars, num_rotations=symmetry.num_rotations, can_mirror=symmetry.can_mirror)


class PainterBatches:
    """All images of a training in memory, and batches of their views.

    Args:
        normals: At least one that is not synthetic.
        defects: Defect category -> its images, each at least one that is real.
        model: Sizes of the networks.
        symmetry: How the product may be moved.
        propose_mask: Where new masks come from.
        seed: Seed of everything random.
        grey: The product has no colour.
    """

    def __init__(
        self,
        normals: Sequence[NormalImage],
        defects: Mapping[str, Sequence[DefectImage]],
        model: PainterModelConfig,
        symmetry: Symmetry,
        propose_mask: ProposeMask,
        seed: int,
        *,
        grey: bool = False,
    ) -> None:
        assert normals
        assert defects
        self.normals, self.model = tuple(normals), model
        self.defects = tuple(sorted(defects))
        self.reference = reference_side([n.image for n in normals if not n.synthetic])
        self._propose_mask, self._seed, self._grey = propose_mask, seed, grey
        self._views = RandomViews(model.side, symmetry, self.reference)
        self._pools = [_DefectPool(defects[name], model.side, self.reference, symmetry) for name in self.defects]

    @property
    def exemplars(self) -> dict[str, list[Exemplar]]:
        """Defect category -> the real defects that are donors."""
        return {name: pool.exemplars for name, pool in zip(self.defects, self._pools, strict=True)}

    def real(self, iteration: int, count: int) -> RealBatch:
        """Views of real defects; the defect categories take turns."""
        rng = np.random.default_rng((self._seed, iteration, 1))
        views, masks, labels = [], [], []
        for i in range(count):
            label = (iteration * count + i) % len(self.defects)
            parts = self._pools[label].parts
            item, part = parts[rng.integers(len(parts))]
            view, mask = self._views.around(rng, item.image, item.mask, part)
            views.append(view)
            masks.append(mask)
            labels.append(label)
        return RealBatch(_signal(views), _masks(masks), torch.tensor(labels))

    def normal(self, iteration: int, count: int) -> Tensor:
        """Views of any part of normal images for stage 1', signal, [count, 3, S, S]."""
        rng = np.random.default_rng((self._seed, iteration, 2))
        views = []
        for _ in range(count):
            image = self.normals[rng.integers(len(self.normals))].image
            views.append(self._views.anywhere(rng, image))
        return _signal(views)

    def paintings(self, iteration: int, count: int, *, pairs: int, donor_prob: float) -> PaintingBatch:
        """Paintings to make; the defect categories take turns.

        Args:
            iteration: Number of the batch.
            count: Number of paintings.
            pairs: For i below it, paintings i and i + count / 2 differ in their codes only.
            donor_prob: Share of the paintings that start from a donor, where one fits.
        """
        rng = np.random.default_rng((self._seed, iteration, 3))
        tasks: list[_Task] = []
        for i in range(count):
            if count // 2 <= i < count // 2 + pairs:
                tasks.append(tasks[i - count // 2])
            else:
                tasks.append(self._task(rng, (iteration * count + i) % len(self.defects), donor_prob))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        mask, donor = _masks([task.mask for task in tasks]), _signal([task.donor for task in tasks])
        noise = torch.randn(count, 5, generator=generator)
        if self._grey:
            noise[:, 3:] = noise[:, 2:3]
        donor = recolour(donor, mask, noise)
        codes = _draw_codes(self.model, generator, appearance(donor, mask))
        view, has_donor = _signal([task.view for task in tasks]), torch.tensor([task.has_donor for task in tasks])
        return PaintingBatch(view, mask, donor, has_donor, codes, torch.tensor([task.label for task in tasks]))

    def _task(self, rng: np.random.Generator, label: int, donor_prob: float) -> _Task:
        """A new mask on a normal image with a donor under it; or a triplet, which is all of that."""
        pool = self._pools[label]
        number = int(rng.integers(len(self.normals) + len(pool.triplets)))
        if number >= len(self.normals):
            return self._triplet(rng, *pool.triplets[number - len(self.normals)], label, donor_prob)
        normal = self.normals[number]
        mask = self._propose_mask(self.defects[label], normal, int(rng.integers(2**31)))
        side, relative = self.model.side, relative_scale(mask.shape, self.reference)
        parts = split_mask(mask, side, relative)
        part = parts[int(rng.integers(len(parts)))]
        view, seen = self._views.around(rng, normal.image, part, part)
        if not seen.any():  # moved out of sight
            return _Task(view, seen, view, False, label)
        scale = side / window_around(part, side, relative).size * relative
        matcher = pool.donors.matcher
        choice = matcher.select(matcher.costs(view, seen), rng)
        donor = pool.donors.fit(view, seen, choice, scale=scale)
        has_donor = bool(rng.random() < donor_prob) and donor.coverage >= MIN_COVERAGE
        return _Task(view, seen, donor.image, has_donor, label)

    def _triplet(
        self, rng: np.random.Generator, item: DefectImage, part: Pixels, label: int, donor_prob: float
    ) -> _Task:
        """The clean image of a triplet with its defect image as donor, both moved alike."""
        assert item.clean is not None
        seed = int(rng.integers(2**62))
        view, seen = self._views.around(np.random.default_rng(seed), item.clean, part, part)
        painted, _ = self._views.around(np.random.default_rng(seed), item.image, part, part)
        has_donor = bool(rng.random() < donor_prob) and bool(seen.any())
        return _Task(view, seen, np.where(seen[:, :, None] > 0, painted, view), has_donor, label)


def _draw_codes(model: PainterModelConfig, generator: torch.Generator, appearance: Tensor) -> PaintingCodes[Tensor]:
    """Codes for views of the model's side with given appearances [N, 6]."""

    def draw(*shape: int) -> Floats:
        return torch.randn(*shape, generator=generator).numpy()

    codes = draw_codes(
        draw, appearance.numpy(), model.side, model.side,
        z_dim=model.z_dim, map_channels=model.map_channels, grain=model.grain > 0,
    )  # fmt: skip
    return PaintingCodes(*map(torch.from_numpy, codes))


def _signal(views: Sequence[Pixels]) -> Tensor:
    stacked = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)  # channels last in memory: faster convolutions
    return stacked.float().div_(127.5).sub_(1)


def _masks(masks: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(masks))[:, None].float()
