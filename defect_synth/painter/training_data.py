"""What the painter learns from: views of real defects, and views of normal images with new masks and fitted donors.

Every batch is a function of (seed, iteration). Real and normal views go through the same resampling: interpolation
blurs, and a judge would see that before it sees a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.painter.appearance import appearance, recolour
from defect_synth.painter.codes import Floats, PaintingCodes, draw_codes
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.donors import LEAST_COVERED, DonorBank
from defect_synth.painter.window import Window, clusters, sample, window_of
from defect_synth.product.exemplar import Exemplar, reference_side, relative_scale
from defect_synth.samples import Pixels

Propose = Callable[[str, "NormalImage", int], Pixels]
"""(defect, what it goes on, seed) -> mask [H, W]: see `MaskSource.propose`."""


@dataclass(frozen=True, eq=False)
class DefectImage:
    """A defect: image uint8 [H, W, 3] and mask uint8 [H, W] of 0 and 1, not empty.

    `clean`, uint8 [H, W, 3], is the same object without it, where a DFMGAN drew both; a real defect has none. Such a
    triplet is an example of how to paint, and judged as real; donors are real defects only.
    """

    image: Pixels
    mask: Pixels
    clean: Pixels | None = None


@dataclass(frozen=True, eq=False)
class NormalImage:
    """A normal image uint8 [H, W, 3] and where its product is, bool [H, W]; whether a DFMGAN drew it."""

    image: Pixels
    foreground: NDArray[np.bool_]
    drawn: bool = False


@dataclass(frozen=True)
class Movement:
    """How views may be moved: quarter turns, any turns, mirroring left-right and top-bottom."""

    quarter: bool
    any: bool
    half: bool
    mirror_x: bool
    mirror_y: bool

    @property
    def directions(self) -> int:
        """In how many directions a donor may lie."""
        return 24 if self.any else 4 if self.quarter else 2 if self.half else 1

    @property
    def mirror(self) -> bool:
        """Whether a donor may be mirrored."""
        return self.mirror_x or (self.mirror_y and self.half)


@dataclass(frozen=True, eq=False)
class RealBatch:
    """Views of real defects: signal [N, 3, S, S], masks [N, 1, S, S], labels [N]."""

    view: Tensor
    mask: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class PaintBatch:
    """What to paint: normal views, masks, donors (signal, [N, 3, S, S]), which of them count, codes and labels."""

    view: Tensor
    mask: Tensor
    donor: Tensor
    has_donor: Tensor
    codes: PaintingCodes[Tensor]
    label: Tensor


@dataclass(frozen=True, eq=False)
class _Job:
    view: Pixels
    mask: Pixels
    donor: Pixels
    has_donor: bool
    label: int


class PainterData:
    """All images of a training, and batches of their views.

    Args:
        normals: At least one.
        defects: Defect -> its images, at least one each.
        model: Sizes.
        movement: How the product may be moved.
        propose: Where new masks come from.
        seed: Of everything random.
        grey: The product has no colour.
    """

    def __init__(
        self,
        normals: Sequence[NormalImage],
        defects: Mapping[str, Sequence[DefectImage]],
        model: PainterModelConfig,
        movement: Movement,
        propose: Propose,
        seed: int,
        *,
        grey: bool = False,
    ) -> None:
        assert normals
        assert defects
        self.normals, self.model, self.movement = tuple(normals), model, movement
        self.defects = tuple(sorted(defects))
        self.reference = reference_side([n.image for n in normals if not n.drawn])
        self._propose, self._seed, self._grey = propose, seed, grey
        self._parts: list[list[tuple[DefectImage, Pixels]]] = []
        self._triplets: list[list[tuple[DefectImage, Pixels]]] = []
        self.banks: list[DonorBank] = []
        self.exemplars: list[list[Exemplar]] = []
        for name in self.defects:
            parts = [
                (item, part)
                for item in defects[name]
                for part in clusters(item.mask, model.side, relative_scale(item.mask.shape, self.reference))
            ]
            self._parts.append(parts)
            self._triplets.append([(item, part) for item, part in parts if item.clean is not None])
            self.exemplars.append(exemplars_of(defects[name], model.side, self.reference))
            assert self.exemplars[-1], "donors are real defects"
            self.banks.append(DonorBank(self.exemplars[-1], turns=movement.directions, mirror=movement.mirror))

    def real(self, iteration: int, count: int) -> RealBatch:
        """Views of real defects, defects in turn."""
        rng = np.random.default_rng((self._seed, iteration, 1))
        views, masks, labels = [], [], []
        for i in range(count):
            label = (iteration * count + i) % len(self.defects)
            item, part = self._parts[label][rng.integers(len(self._parts[label]))]
            view, mask = self._look(rng, item.image, item.mask, part)
            views.append(view)
            masks.append(mask)
            labels.append(label)
        return RealBatch(_signal(views), _masks(masks), torch.tensor(labels))

    def normal(self, iteration: int, count: int) -> Tensor:
        """Views of normal images anywhere, mostly at the scale of small defects: for stage 1'. [N, 3, S, S]."""
        rng = np.random.default_rng((self._seed, iteration, 2))
        views = []
        for _ in range(count):
            image = self.normals[rng.integers(len(self.normals))].image
            least = max(8, round(self.model.side * relative_scale(image.shape, self.reference)))
            most = max(image.shape[:2])
            size = least if rng.random() < 0.6 or most <= least else int(rng.integers(least, most + 1))
            top = int(rng.integers(min(0, image.shape[0] - size), max(0, image.shape[0] - size) + 1))
            left = int(rng.integers(min(0, image.shape[1] - size), max(0, image.shape[1] - size) + 1))
            views.append(self._move(rng, Window(top, left, size), image)[0])
        return _signal(views)

    def paint(self, iteration: int, count: int, *, pairs: int, donor_prob: float) -> PaintBatch:
        """Paintings to make; sample i and i + count / 2 differ in their codes only, for i below `pairs`."""
        rng = np.random.default_rng((self._seed, iteration, 3))
        jobs: list[_Job] = []
        for i in range(count):
            if count // 2 <= i < count // 2 + pairs:
                jobs.append(jobs[i - count // 2])
            else:
                jobs.append(self._job(rng, (iteration * count + i) % len(self.defects), donor_prob))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        mask_tensor, donor = _masks([job.mask for job in jobs]), _signal([job.donor for job in jobs])
        noise = torch.randn(count, 5, generator=generator)
        if self._grey:
            noise[:, 3:] = noise[:, 2:3]
        donor = recolour(donor, mask_tensor, noise)
        codes = _draw_codes(self.model, generator, appearance(donor, mask_tensor))
        view, has = _signal([job.view for job in jobs]), torch.tensor([job.has_donor for job in jobs])
        return PaintBatch(view, mask_tensor, donor, has, codes, torch.tensor([job.label for job in jobs]))

    def _job(self, rng: np.random.Generator, label: int, donor_prob: float) -> _Job:
        """A new mask on a normal image, seen in a view, with a donor under it; or a triplet, which is all of that."""
        number = int(rng.integers(len(self.normals) + len(self._triplets[label])))
        if number >= len(self.normals):
            return self._triplet(rng, *self._triplets[label][number - len(self.normals)], label, donor_prob)
        normal = self.normals[number]
        mask = self._propose(self.defects[label], normal, int(rng.integers(2**31)))
        density = relative_scale(mask.shape, self.reference)
        parts = clusters(mask, self.model.side, density)
        part = parts[int(rng.integers(len(parts)))]
        view, seen = self._look(rng, normal.image, part, part)
        if not seen.any():  # moved out of sight
            return _Job(view, seen, view, False, label)
        scale = self.model.side / window_of(part, self.model.side, density).size * density
        bank = self.banks[label]
        donor = bank.lay(view, seen, bank.choose(view, seen, rng), scale=scale)
        has = bool(rng.random() < donor_prob) and donor.covered >= LEAST_COVERED
        return _Job(view, seen, donor.picture, has, label)

    def _triplet(
        self, rng: np.random.Generator, item: DefectImage, part: Pixels, label: int, donor_prob: float
    ) -> _Job:
        """The clean image with the defect image for a donor, both moved alike."""
        assert item.clean is not None
        move = int(rng.integers(2**62))
        view, seen = self._look(np.random.default_rng(move), item.clean, part, part)
        wanted, _ = self._look(np.random.default_rng(move), item.image, part, part)
        has = bool(rng.random() < donor_prob) and bool(seen.any())
        return _Job(view, seen, np.where(seen[:, :, None] > 0, wanted, view), has, label)

    def _look(self, rng: np.random.Generator, image: Pixels, mask: Pixels, part: Pixels) -> tuple[Pixels, Pixels]:
        """A view of a part of a mask, a little off the middle, moved as the product allows."""
        side = self.model.side
        window = window_of(part, side, relative_scale(part.shape, self.reference))
        off = 0.08 * window.size
        window = Window(
            window.top + round(rng.uniform(-off, off)), window.left + round(rng.uniform(-off, off)), window.size
        )
        view, seen = self._move(rng, window, image, mask)
        assert seen is not None
        return view, seen

    def _move(
        self, rng: np.random.Generator, window: Window, image: Pixels, mask: Pixels | None = None
    ) -> tuple[Pixels, Pixels | None]:
        """Cut a window; half of them turned and scaled with interpolation, all mirrored and turned without."""
        side, movement = self.model.side, self.movement
        if rng.random() < 0.5:
            degrees = rng.uniform(-180, 180) if movement.any else rng.uniform(-6, 6)
            scale = float(np.exp(rng.uniform(-0.07, 0.07))) * window.size / side
            cos, sin = np.cos(np.deg2rad(degrees)) * scale, np.sin(np.deg2rad(degrees)) * scale
            a = np.array([[cos, sin], [-sin, cos]])
            middle = np.array([window.left, window.top]) + (window.size - 1) / 2
            matrix = np.concatenate([a, (middle - a @ np.full(2, (side - 1) / 2))[:, None]], axis=1).astype(np.float32)
            view = sample(image, matrix, side, smooth=True)
            seen = None
            if mask is not None:
                soft = sample(mask * np.uint8(255), matrix, side, border=0)  # 0: nothing beyond the border
                seen = (soft >= (64 if scale > 1.1 else 128)).astype(np.uint8)
        else:
            view = window.cut(image, side)
            seen = None if mask is None else window.cut(mask, side)
        flips = [movement.mirror_x and rng.random() < 0.5, movement.mirror_y and rng.random() < 0.5]
        turns = int(rng.integers(4)) if movement.quarter else 2 * int(rng.integers(2)) if movement.half else 0

        def finish(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
            for axis, flip in ((1, flips[0]), (0, flips[1])):
                array = np.flip(array, axis) if flip else array
            return np.ascontiguousarray(np.rot90(array, turns))

        return finish(view), None if seen is None else finish(seen)


def exemplars_of(items: Sequence[DefectImage], side: int, reference: int) -> list[Exemplar]:
    """The donors of a defect: of every part of each real one."""
    return [
        exemplar_of(item.image, part, side, reference)
        for item in items
        if item.clean is None
        for part in clusters(item.mask, side, relative_scale(item.mask.shape, reference))
    ]


def exemplar_of(image: Pixels, part: Pixels, side: int, reference: int) -> Exemplar:
    """A donor: the window of a part of a mask, at most twice as fine as it will be seen."""
    density = relative_scale(part.shape, reference)
    window = window_of(part, side, density)
    fine = min(window.size, 2 * side)
    return Exemplar(window.cut(image, fine), window.cut(part, fine), fine / window.size * density)


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
    stacked = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2)  # channels last in memory, as convolutions like it
    return stacked.float().div_(127.5).sub_(1)


def _masks(masks: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(masks))[:, None].float()
