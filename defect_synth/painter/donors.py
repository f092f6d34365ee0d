"""Donors: real defects that are turned, scaled and filled up to fit any mask.

Which one, and turned how, is chosen by two things at once: its shape should be like the mask's, and what lies around it
in its own image should be like what lies around the mask. So a shard from the ring of a bottle comes to lie on the ring
as it lay before, without anybody saying what a ring is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.painter.bend import bend
from defect_synth.painter.fill import filled
from defect_synth.painter.window import sample
from defect_synth.product.exemplar import Exemplar
from defect_synth.samples import Pixels

Floats = NDArray[np.float32]
Costs = NDArray[np.float64]

_GRID = 24  # descriptors are pictures of so many pixels squared
_REACH = 3.0  # their half side, in radii of gyration of the defect
_CONTEXT = 3.0  # weight of what lies around against the shape
_POOL = 0.12  # donors this much worse than the best are as good: variety
_COVERED = 0.8  # share of a mask that a good donor covers
LEAST_COVERED = 0.5
"""Below this share of the mask a donor is no help; the painting is made freely."""
_MIXED = 0.5
_ALIKE = 35.0  # grey levels by which the colours of two donors may differ to be mixed
_SHARP = 2.5
_SCALES = (0.6, 1.6)


@dataclass(frozen=True, eq=False)
class _Geometry:
    """Centre (y, x) and radius of gyration of a mask, in pixels."""

    y: float
    x: float
    radius: float


def geometry(mask: Pixels) -> _Geometry:
    """Of a mask [H, W] that is not empty."""
    found = cv2.moments(mask, binaryImage=True)
    area = max(found["m00"], 1.0)
    spread = max((found["mu20"] + found["mu02"]) / area, 1.0)
    return _Geometry(found["m01"] / area, found["m10"] / area, float(np.sqrt(spread)))


@dataclass(frozen=True, eq=False)
class Laid:
    """A donor under a mask: uint8 [S, S, 3], and the share of the mask that it covers by itself."""

    picture: Pixels
    covered: float


@dataclass(frozen=True, eq=False)
class Choice:
    """One donor's pose, or two and a coarse map of where the first shows (1) and where the second (0)."""

    first: int
    second: int | None
    seam: Floats


class DonorBank:
    """The donors of one defect.

    Args:
        exemplars: At least one.
        turns: Number of directions in which a donor may lie: 24, 4, 2 or 1.
        mirror: Whether it may be mirrored.
    """

    def __init__(self, exemplars: Sequence[Exemplar], *, turns: int, mirror: bool) -> None:
        assert exemplars
        self.exemplars = tuple(exemplars)
        self._geometry = [geometry(e.mask) for e in exemplars]
        self._poses: list[tuple[int, float, bool]] = []
        pictures, masks = [], []
        for k, exemplar in enumerate(exemplars):
            for flip in (False, True) if mirror else (False,):
                for turn in range(turns):
                    angle = 2 * np.pi * turn / turns
                    matrix = self._matrix(k, angle, flip, _descriptor_geometry(), self._descriptor_scale(k))
                    pictures.append(sample(exemplar.image, matrix, _GRID).reshape(-1, 3).astype(np.float32) / 255)
                    masks.append(sample(exemplar.mask * np.uint8(255), matrix, _GRID).ravel().astype(np.float32) / 255)
                    self._poses.append((k, angle, flip))
        self._masks = np.stack(masks)
        self._areas = self._masks.sum(axis=1)
        self._colours = np.stack([e.image[e.mask > 0].mean(axis=0) for e in exemplars])
        self._radii = np.array([g.radius for g in self._geometry])
        self._own = np.array([k for k, _, _ in self._poses])
        outside = 1 - np.minimum(1, self._masks * 2)
        colours = np.stack(pictures)
        self._outside = outside
        # A squared difference is a product of what is known beforehand and what a view brings.
        products = (outside[:, :, None] * colours).reshape(len(masks), -1)
        self._terms = np.concatenate([outside * (colours**2).sum(axis=2), -2 * products, outside], axis=1)

    def _descriptor_scale(self, k: int) -> float:
        return (_GRID / 2 / _REACH) / self._geometry[k].radius

    def _matrix(self, k: int, angle: float, flip: bool, target: _Geometry, scale: float) -> Floats:
        """Affine map from the target's pixels (x, y) to the donor's."""
        source = self._geometry[k]
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        sign = -1.0 if flip else 1.0
        a = np.array([[sign * cos, sign * sin], [-sin, cos]])
        shift = np.array([source.x, source.y]) - a @ np.array([target.x, target.y])
        out: Floats = np.concatenate([a, shift[:, None]], axis=1).astype(np.float32)
        return out

    def _describe(self, array: NDArray[np.uint8], target: _Geometry) -> NDArray[np.uint8]:
        step = _REACH * target.radius / (_GRID / 2)
        offset = _GRID / 2 - 0.5
        matrix = np.array([[step, 0, target.x - step * offset], [0, step, target.y - step * offset]], np.float32)
        return sample(array, matrix, _GRID)

    def lay(self, view: Pixels, mask: Pixels, choice: Choice, *, scale: float = 1.0) -> Laid:
        """Donors laid under a mask.

        Args:
            view: What the defect goes into, uint8 [S, S, 3].
            mask: uint8 [S, S], not empty.
            choice: What `choose` chose, for this view or a coarser one.
            scale: Pixels of this view for one pixel of the reference images.

        Returns:
            The donor inside the mask, `view` elsewhere.
        """
        first = self._lay_one(view, mask, choice.first, scale)
        if choice.second is None:
            return first
        second = self._lay_one(view, mask, choice.second, scale)
        if min(first.covered, second.covered) < LEAST_COVERED:
            return first
        size = (mask.shape[1], mask.shape[0])
        share = cv2.resize(choice.seam, size, interpolation=cv2.INTER_CUBIC)[:, :, None]
        mixed = second.picture + share.clip(0, 1) * (first.picture.astype(np.float32) - second.picture)
        return Laid(np.rint(mixed).astype(np.uint8), min(first.covered, second.covered))

    def _lay_one(self, view: Pixels, mask: Pixels, pose: int, scale: float) -> Laid:
        target = geometry(mask)
        k, angle, flip = self._poses[pose]
        exemplar, source = self.exemplars[k], self._geometry[k]
        natural = scale / exemplar.scale  # that leaves the donor as large as it was
        wanted = target.radius / source.radius
        grow = float(np.clip(wanted / natural, *_SCALES))
        matrix = self._matrix(k, angle, flip, target, natural * grow)
        side = mask.shape[0]
        picture = sample(exemplar.image, matrix, side, smooth=True)
        there = (sample(exemplar.mask * np.uint8(255), matrix, side, border=cv2.BORDER_CONSTANT) > 127).astype(np.uint8)
        bent = bend(mask, there)
        if bent is not None:
            rows, columns, way = bent
            ys, xs = np.mgrid[rows, columns].astype(np.float32)
            xs, ys = xs + way[:, :, 0], ys + way[:, :, 1]
            picture[rows, columns] = cv2.remap(picture, xs, ys, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            found = cv2.remap(there * np.uint8(255), xs, ys, cv2.INTER_LINEAR)
            there[rows, columns] = found > 127
        covered, out = filled(view, picture, mask.astype(bool), there.astype(bool))
        return Laid(out, covered)

    def choose(self, view: Pixels, mask: Pixels, rng: np.random.Generator) -> Choice:
        """Donors and poses that suit a view [S, S, 3] and its mask [S, S]; `rng` chooses among about equals."""
        return self.pick(self.costs(view, mask), rng)

    def costs(self, view: Pixels, mask: Pixels) -> Costs:
        """How badly each donor in each pose suits a view [S, S, 3] and its mask [S, S] (not empty): [poses]."""
        target = geometry(mask)
        shape = self._describe(mask * np.uint8(255), target).ravel().astype(np.float32) / 255
        colours = self._describe(view, target).reshape(-1, 3).astype(np.float32) / 255
        both = np.minimum(self._masks, shape[None]).sum(axis=1)
        either = self._areas + shape.sum() - both
        shape_cost = 1 - both / np.maximum(either, 1e-6)
        free = 1 - np.minimum(1, shape * 2)
        weight = _times(self._outside, free) + 1e-3
        view_terms = (free, (free[:, None] * colours).ravel(), free * (colours**2).sum(axis=1))
        difference = _times(self._terms, np.concatenate(view_terms))
        context_cost = np.sqrt(np.maximum(difference, 0) / weight / 3)
        ratio = np.abs(np.log(target.radius / self._radii))  # a speck blown up is no stain
        covered = both / max(float(shape.sum()), 1e-6)
        bare = np.maximum(_COVERED - covered, 0)  # a wire is no donor for a blot: most of it would have to be made up
        cost: Costs = shape_cost * 0.5 + bare + _CONTEXT * context_cost + 0.25 * np.minimum(ratio, 2.0)[self._own]
        return cost

    def pick(self, cost: Costs, rng: np.random.Generator) -> Choice:
        """Donors and poses by what `costs` says of them; `rng` chooses among about equals."""
        own = self._own
        # Best pose of each donor, then any of the donors that are nearly as good as the best.
        best = np.full(len(self.exemplars), np.inf)
        np.minimum.at(best, own, cost)
        good = np.flatnonzero(best <= best.min() + _POOL)
        first = int(good[int(rng.integers(len(good)))])

        def pose(donor: int) -> int:
            mine = np.flatnonzero(own == donor)
            return int(mine[np.argmin(cost[mine])])

        # Half of the time, part of it from a second donor of about the same colour: a defect that nobody has seen.
        alike = np.abs(self._colours - self._colours[first]).max(axis=1) < _ALIKE
        others = [int(k) for k in np.flatnonzero(best <= best.min() + 2 * _POOL) if k != first and alike[k]]
        wish, pick, seam = rng.random(), rng.random(), rng.normal(0, 1, (5, 5)).astype(np.float32)
        if not others or wish >= _MIXED:
            return Choice(pose(first), None, seam)
        return Choice(pose(first), pose(others[int(pick * len(others))]), seam * _SHARP + 0.5)


def _times(matrix: Floats, vector: Floats) -> Floats:
    """`matrix @ vector` on this thread: a library's own threads would wait for one another longer than this takes."""
    out: Floats = np.einsum("ij,j->i", matrix, vector)
    return out


def _descriptor_geometry() -> _Geometry:
    return _Geometry(_GRID / 2 - 0.5, _GRID / 2 - 0.5, 1.0)
