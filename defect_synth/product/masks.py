"""Where a defect could be, and how it could be shaped: new masks from a handful of real ones.

A real mask is turned and mirrored as the product allows, scaled, shifted and bent; some are cut, some united. Where it
goes is where such defects were seen; on products that lie anyhow, where the caller's weights say, or anywhere.
Everything is a function of a seed.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import Pixels

Turns = Literal["any", "quarter", "half", "none"]
"""By which angles a product can be turned and still look like itself: every one, 90, 180 degrees, or none."""

DIRECTIONS: dict[Turns, int] = {"any": 24, "quarter": 4, "half": 2, "none": 1}

_WOBBLE = 8.0  # degrees that even a product without symmetry may be off
_TRIES = 12
_PATIENCE = 9  # tries for one real mask and form: large and whole ones are harder, and would give way to others
_TOO_NEAR = 0.8  # intersection over union with a real mask, in the best pose, above which a mask is no new one
_ALIKE = 0.98  # the same for real masks that are as like each other: discs are, and a new disc is no copy
_FOLLOW = 0.04  # radii of an aligned product by which a mask is bent at most (standard deviation)
_LARGEST = 1.2  # of the largest real mask
_GROW = 1.25  # by which a part of a mask is enlarged at most
_JOINED = 0.72  # scale of masks that are united: about the area of one
_RIM = 0.05  # radii of the product: masks keep off its border by so much where the real one does
_LOOSE = 0.08  # by which a mask may be more or less solid than the real ones
_SHOWN = 0.8  # guess: share of a defect that is seen where the border of the image cuts it off
_CORNERS = 9  # of what is bitten out of a mask
_COMPARED = 24  # masks are compared as pictures of so many pixels squared


@dataclass(frozen=True)
class Symmetry:
    """How the product may be moved and still look like itself.

    Attributes:
        turns: Rotations.
        mirror_x: Left and right may be exchanged.
        mirror_y: Top and bottom may be exchanged.
        aligned: All products lie alike, so a place on one is the same place on all.
    """

    turns: Turns = "none"
    mirror_x: bool = False
    mirror_y: bool = False
    aligned: bool = True

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "turns": self.turns, "mirror_x": self.mirror_x, "mirror_y": self.mirror_y, "aligned": self.aligned
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Shape:
    """One real mask, relative to the product it was on.

    Attributes:
        mask: uint8 [h, w] of 0 and 1: the mask's bounding box.
        offset: From the middle of the product to that of the box, (y, x), in radii of the product.
        radius: Of the product, in pixels of this mask: that of a disc of equal area.
        inside: Share of the mask that is on the product and in the image.
        margin: From the mask to the border of the product, in radii of it; 0 if it reaches the border.
    """

    mask: Pixels
    offset: tuple[float, float]
    radius: float
    inside: float
    margin: float = 0.0

    @classmethod
    def of(cls, mask: Pixels, foreground: NDArray[np.bool_]) -> Shape:
        """Of a whole image's mask (not empty) and product."""
        y, x, radius = place_of(foreground)
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        top, bottom, left, right = int(ys[0]), int(ys[-1]) + 1, int(xs[0]), int(xs[-1]) + 1
        offset = (((top + bottom - 1) / 2 - y) / radius, ((left + right - 1) / 2 - x) / radius)
        inside = float(foreground[mask > 0].mean())
        if top == 0 or left == 0 or bottom == mask.shape[0] or right == mask.shape[1]:
            inside *= _SHOWN
        margin = min(1.0, float(_depth(foreground)[mask > 0].min()) / radius)
        return cls(np.ascontiguousarray(mask[top:bottom, left:right]), offset, radius, inside, margin)


def _depth(foreground: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Of each pixel in the product, in pixels: 0 off it, 1 at its border; the border of the image is none of it."""
    if foreground.all():
        return np.full(foreground.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(foreground.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def place_of(foreground: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Middle (y, x) and radius of a product, in pixels.

    Raises:
        DataError: Nothing is marked.
    """
    found = cv2.moments(foreground.astype(np.uint8), binaryImage=True)
    area = found["m00"]
    if not area:
        raise DataError("the foreground is empty: there is no product to put a defect on; pass a mask that marks it")
    return found["m01"] / area, found["m10"] / area, max(1.0, float(np.sqrt(area / np.pi)))


@dataclass(frozen=True, eq=False)
class _Places:
    """Cells of an image to draw from: sums of their weights up to each, their grid, and a cell's size, (y, x)."""

    sums: NDArray[np.float64]
    columns: int
    size: tuple[float, float]

    @classmethod
    def of(cls, weights: NDArray[np.float32], foreground: NDArray[np.bool_]) -> _Places | None:
        """None: no cell of the product has a weight."""
        rows, columns = weights.shape
        share = cv2.resize(foreground.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
        sums = np.cumsum((weights * share).ravel().astype(np.float64))
        size = foreground.shape[0] / rows, foreground.shape[1] / columns
        return cls(sums, columns, size) if sums[-1] > 0 else None

    def draw(self, rng: np.random.Generator) -> tuple[float, float]:
        """A place (y, x)."""
        found = int(np.searchsorted(self.sums, rng.random() * self.sums[-1], side="right"))
        row, column = divmod(min(found, len(self.sums) - 1), self.columns)
        return (row + rng.random()) * self.size[0] - 0.5, (column + rng.random()) * self.size[1] - 0.5


def _anywhere(foreground: NDArray[np.bool_], rng: np.random.Generator) -> tuple[int, int]:
    """A pixel (y, x) of the product."""
    found = np.flatnonzero(foreground)
    y, x = divmod(int(found[rng.integers(len(found))]), int(foreground.shape[1]))
    return y, x


@dataclass(frozen=True, eq=False)
class _Known:
    """Real masks as pictures [n, _COMPARED^2], and how like each of them a new one may be [n]."""

    pictures: NDArray[np.float32]
    limits: NDArray[np.float64]

    @classmethod
    def of(cls, shapes: Sequence[Shape]) -> _Known:
        each = [pictures([shape]) for shape in shapes]
        known, owner = np.concatenate(each), np.repeat(np.arange(len(each)), [len(found) for found in each])
        like = [_overlap(shape.mask, known)[owner != k].max(initial=0.0) for k, shape in enumerate(shapes)]
        return cls(known, np.clip(np.asarray(like, np.float64), _TOO_NEAR, _ALIKE)[owner])

    def excess(self, mask: NDArray[Any]) -> float:
        """By how much a mask (not empty) is too like a real one; 0: it is a new one."""
        return float(max(0.0, (_overlap(mask, self.pictures) - self.limits).max(initial=0.0)))


class MaskSource:
    """New masks for each defect of a category.

    Args:
        shapes: Defect -> its real masks; at least one each.
        symmetry: How the product may be moved.
        category: For messages.
    """

    def __init__(self, shapes: Mapping[str, Sequence[Shape]], symmetry: Symmetry, category: str = "") -> None:
        self._shapes = {name: tuple(found) for name, found in sorted(shapes.items())}
        assert all(self._shapes.values()), "every defect needs a mask"
        self.symmetry = symmetry
        self.category = category
        self._known = {name: _Known.of(found) for name, found in self._shapes.items()}
        solid = {name: [solidity(shape.mask) for shape in found] for name, found in self._shapes.items()}
        self._solid = {name: (min(found) - _LOOSE, max(found) + _LOOSE) for name, found in solid.items()}

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(self._shapes)

    def propose(
        self, defect: str, foreground: NDArray[np.bool_], seed: int, weights: NDArray[np.float32] | None = None
    ) -> Pixels:
        """A mask on a product: uint8 [H, W] of 0 and 1, inside `foreground` [H, W], not empty.

        Args:
            defect: One of `defects`.
            foreground: Where the product is, bool [H, W].
            seed: Of everything random.
            weights: How likely the mask's middle is in each of [h, w] equal cells of the image; for products that are
                aligned, where such a defect was seen counts alone.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: The foreground is empty.
        """
        if defect not in self._shapes:
            raise UnknownDefectError(defect, self.category, self.defects)
        y, x, radius = place_of(foreground)
        rng = np.random.default_rng((seed, zlib.crc32(defect.encode()), 0x3A5C))
        shapes = self._shapes[defect]
        depth = _depth(foreground) if any(shape.margin for shape in shapes) else None
        places = None if weights is None or self.symmetry.aligned else _Places.of(weights, foreground)
        areas = [float(shape.mask.sum()) / shape.radius**2 * radius**2 for shape in shapes]
        typical, largest = float(np.median(areas)), max(areas)
        best, best_score = None, -np.inf
        form, shape = float(rng.random()), shapes[int(rng.integers(len(shapes)))]
        for attempt in range(_TRIES):
            if attempt >= _PATIENCE:
                form, shape = float(rng.random()), shapes[int(rng.integers(len(shapes)))]
            drawn = self._draw(rng, form, shape, shapes, (y, x, radius), foreground, places, 0.05 + 0.01 * attempt)
            if drawn is None:
                continue
            mask, area, wanted = drawn
            # A product's border is often soft or lit from behind: what ends exactly there looks glued on.
            clipped = mask & (foreground if depth is None else depth > max(0.0, min(_RIM, shape.margin) * radius - 1))
            kept = float(clipped.sum() / max(area, 1))
            copied = self._known[defect].excess(clipped) if clipped.any() else 1.0
            small = min(1.0, float(clipped.sum()) / max(4.0, 0.1 * typical))
            large = max(0.0, area / (_LARGEST * largest) - 1)
            solid, (least, most) = solidity(clipped) if clipped.any() else 0.0, self._solid[defect]
            odd = max(least - solid, solid - most, 0.0)
            # Real ones that end before the border of the image are not cut off by it, not even by a little.
            beyond = 1 - float(mask.sum()) / max(area, 1) if shape.inside > _SHOWN else 0.0
            score = min(kept - wanted, 0.0) - beyond - 2 * copied + min(small - 1, 0.0) - large - odd
            if clipped.any() and score > best_score:
                best, best_score = clipped, score
            if best_score >= 0:
                break
        if best is None:  # the product is smaller than the defect, or full of holes: a dot on it
            best = np.zeros(foreground.shape, np.uint8)
            py, px = _anywhere(foreground, rng)
            cv2.circle(best, (px, py), max(1, round(np.sqrt(typical / np.pi))), 1, -1)
            best = best & foreground
        return best.astype(np.uint8)

    def _draw(
        self, rng: np.random.Generator, form: float, shape: Shape, shapes: Sequence[Shape],
        place: tuple[float, float, float], foreground: NDArray[np.bool_], places: _Places | None, elastic: float,
    ) -> tuple[Pixels, int, float] | None:  # fmt: skip
        """One try: a mask on the canvas, made of `shape`; its area, also beyond it; the share that should be seen.

        `form` (0..1) says whether it is a part of the shape, cut, whole, or united with another.
        """
        y, x, radius = place
        angle, flip = self._pose(rng)
        scale = radius / shape.radius * float(np.exp(rng.normal(0, 0.12)))
        # Cut first and bend then: no straight edges.
        whole = _part(shape.mask, rng) if form < 0.12 else _cut(shape.mask, rng) if form < 0.24 else shape.mask
        # Size may be what tells one kind of defect from another: what is cut off or added must not change it much.
        scale *= min(_GROW, float(shape.mask.sum() / max(whole.sum(), 1)) ** 0.5)
        # Large defects of aligned products follow their parts; two of them across each other would not.
        joined = form > 0.88 and not (self.symmetry.aligned and np.hypot(*shape.mask.shape) > shape.radius)
        if joined:
            scale *= _JOINED
        patch = warp(whole, angle, flip, scale, self._bend(whole, scale, elastic, radius), rng)
        if joined:
            other = shapes[int(rng.integers(len(shapes)))]
            smaller = radius / other.radius * _JOINED
            bend = self._bend(other.mask, smaller, elastic, radius)
            patch = _unite(patch, warp(other.mask, *self._pose(rng), smaller, bend, rng), rng)
        if not patch.any():
            return None
        cy: float
        cx: float
        if places is not None:
            cy, cx = places.draw(rng)
        elif self.symmetry.aligned or rng.random() < 0.5:
            oy, ox = shape.offset
            if flip:
                ox = -ox
            cos, sin = np.cos(angle), np.sin(angle)
            oy, ox = oy * cos - ox * sin, oy * sin + ox * cos
            oy, ox = oy + rng.normal(0, 0.04), ox + rng.normal(0, 0.04)
            cy, cx = y + oy * radius, x + ox * radius
        else:
            cy, cx = _anywhere(foreground, rng)
        canvas = np.zeros(foreground.shape, np.uint8)
        _stamp(canvas, patch, cy, cx)
        return canvas, int(patch.sum()), min(0.97, shape.inside - 0.02)

    def _bend(self, mask: Pixels, scale: float, elastic: float, radius: float) -> float:
        """How much to bend: on aligned products large defects follow their parts, and must go on doing so."""
        if not self.symmetry.aligned:
            return elastic
        size = float(np.hypot(*mask.shape)) * scale
        return min(elastic, _FOLLOW * radius / max(size, 1.0))

    def _pose(self, rng: np.random.Generator) -> tuple[float, bool]:
        """Angle (radians) and whether to mirror left and right."""
        symmetry = self.symmetry
        if symmetry.turns == "any":
            angle = float(rng.uniform(0, 2 * np.pi))
        else:
            steps = DIRECTIONS[symmetry.turns]
            angle = 2 * np.pi * int(rng.integers(steps)) / steps
            angle += float(np.deg2rad(rng.uniform(-_WOBBLE, _WOBBLE)))
        flip = symmetry.mirror_x and rng.random() < 0.5
        if symmetry.mirror_y and not symmetry.mirror_x and rng.random() < 0.5:
            return angle + np.pi, True  # top and bottom exchanged: mirrored left and right, and turned
        return angle, bool(flip)


def warp(mask: Pixels, angle: float, flip: bool, scale: float, elastic: float, rng: np.random.Generator) -> Pixels:
    """Mirror, turn (radians, as `_draw` turns offsets), scale and bend a mask.

    Args:
        mask: uint8 [h, w] of 0 and 1.
        angle: Of rotation.
        flip: Mirror left and right first.
        scale: Of the result.
        elastic: Standard deviation of the bending, in shares of the mask's size; 0: none.
        rng: Of the bending.

    Returns:
        uint8 [h', w'], with the mask's middle in its middle.
    """
    height, width = mask.shape
    reach = float(np.hypot(height, width)) * scale / 2
    side = 2 * int(np.ceil(reach * (1 + 3 * elastic) + 2)) + 1
    centre = (side - 1) / 2
    # A thin line that is seen smaller would fall between the pixels: widen it first by what it loses.
    soft = mask.astype(np.float32)
    if scale < 0.8:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(soft, size, interpolation=cv2.INTER_AREA)
        soft = (small > 0.25).astype(np.float32)
        scale = 1.0
    soft = cv2.copyMakeBorder(soft, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    ys, xs = np.mgrid[0:side, 0:side].astype(np.float32)
    dy, dx = ys - centre, xs - centre
    if elastic > 0:
        grid = rng.normal(0, elastic, (2, 5, 5)).astype(np.float32) * (reach * 2)
        dy = dy + cv2.resize(grid[0], (side, side), interpolation=cv2.INTER_CUBIC)
        dx = dx + cv2.resize(grid[1], (side, side), interpolation=cv2.INTER_CUBIC)
    cos, sin = np.cos(angle), np.sin(angle)
    sy, sx = (dy * cos + dx * sin) / scale, (-dy * sin + dx * cos) / scale  # the way back
    if flip:
        sx = -sx
    sy, sx = sy + (soft.shape[0] - 1) / 2, sx + (soft.shape[1] - 1) / 2
    found = cv2.remap(soft, sx.astype(np.float32), sy.astype(np.float32), cv2.INTER_LINEAR)
    out: Pixels = (found >= 0.5).astype(np.uint8)
    return out


def _part(patch: Pixels, rng: np.random.Generator) -> Pixels:
    """What lies on one side of a line near the middle: at least a third or so."""
    ys, xs = np.nonzero(patch)
    if len(ys) < 8:
        return patch
    angle = rng.uniform(0, 2 * np.pi)
    along = ys * np.sin(angle) + xs * np.cos(angle)
    keep = along <= np.quantile(along, rng.uniform(0.4, 0.8))
    out = np.zeros_like(patch)
    out[ys[keep], xs[keep]] = 1
    return out


def _cut(patch: Pixels, rng: np.random.Generator) -> Pixels:
    """A ragged bite out of the border."""
    if int(patch.sum()) < 30:
        return patch
    border = cv2.copyMakeBorder(patch, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    ys, xs = np.nonzero((patch > 0) & (cv2.erode(border, np.ones((3, 3), np.uint8))[1:-1, 1:-1] == 0))
    i = int(rng.integers(len(ys)))
    radius = np.sqrt(float(patch.sum()) / np.pi) * rng.uniform(0.3, 0.8)
    angles = np.arange(_CORNERS) * (2 * np.pi / _CORNERS) + rng.uniform(0, 2 * np.pi)
    reach = radius * rng.uniform(0.4, 1.3, _CORNERS)
    bite = np.stack([xs[i] + reach * np.cos(angles), ys[i] + reach * np.sin(angles)], axis=1)
    out = patch.copy()
    cv2.fillPoly(out, [np.rint(bite).astype(np.int32)], 0)
    return out if 3 * int(out.sum()) > int(patch.sum()) else patch


def _unite(patch: Pixels, other: Pixels, rng: np.random.Generator) -> Pixels:
    """Two masks that overlap or touch."""
    side = patch.shape[0] + other.shape[0]
    canvas = np.zeros((side, side), np.uint8)
    middle = (side - 1) / 2
    _stamp(canvas, patch, middle, middle)
    ys, xs = np.nonzero(canvas)
    if not len(ys):
        return patch
    i = int(rng.integers(len(ys)))
    _stamp(canvas, other, float(ys[i]), float(xs[i]))
    return canvas


def _stamp(canvas: Pixels, patch: Pixels, y: float, x: float) -> None:
    """Add `patch`, its middle at (y, x), to `canvas`, as far as it is on it."""
    top, left = round(y - (patch.shape[0] - 1) / 2), round(x - (patch.shape[1] - 1) / 2)
    height, width = canvas.shape
    y0, x0 = max(0, top), max(0, left)
    y1, x1 = min(height, top + patch.shape[0]), min(width, left + patch.shape[1])
    if y1 > y0 and x1 > x0:
        canvas[y0:y1, x0:x1] |= patch[y0 - top : y1 - top, x0 - left : x1 - left]


def pictures(shapes: Sequence[Shape]) -> NDArray[np.float32]:
    """Descriptors of real masks in 24 directions, mirrored and not: [n, _COMPARED^2]."""
    rows = []
    nothing = np.random.default_rng(0)
    for shape in shapes:
        size = max(24.0, min(96.0, float(max(shape.mask.shape))))
        scale = size / max(shape.mask.shape)
        for flip in (False, True):
            for turn in range(24):
                turned = warp(shape.mask, 2 * np.pi * turn / 24, flip, scale, 0.0, nothing)
                if turned.any():
                    rows.append(_picture(turned))
    return np.stack(rows) if rows else np.zeros((0, _COMPARED**2), np.float32)


def _picture(mask: NDArray[Any]) -> NDArray[np.float32]:
    """A mask about its middle, three radii of gyration to each side."""
    points = cv2.findNonZero(mask.astype(np.uint8)).reshape(-1, 2).astype(np.float32)
    xs, ys = points[:, 0], points[:, 1]
    y, x = ys.mean(), xs.mean()
    radius = max(1.0, float(np.sqrt(((ys - y) ** 2 + (xs - x) ** 2).mean())))
    index_y = np.round((ys - y) / (2.5 * radius) * (_COMPARED / 2) + (_COMPARED - 1) / 2).astype(int)
    index_x = np.round((xs - x) / (2.5 * radius) * (_COMPARED / 2) + (_COMPARED - 1) / 2).astype(int)
    inside = (index_y >= 0) & (index_y < _COMPARED) & (index_x >= 0) & (index_x < _COMPARED)
    counts = np.bincount(index_y[inside] * _COMPARED + index_x[inside], minlength=_COMPARED**2).astype(np.float32)
    step = 2.5 * radius / (_COMPARED / 2)
    out: NDArray[np.float32] = np.minimum(1.0, counts / max(1.0, step * step))
    return out


def likeness(mask: NDArray[Any], pictures: NDArray[np.float32]) -> float:
    """Largest intersection over union of a mask (not empty) with real ones in any direction; 1 is a copy."""
    return float(_overlap(mask, pictures).max(initial=0.0))


def _overlap(mask: NDArray[Any], pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of a mask (not empty) with each picture: [n]."""
    picture = _picture(mask)[None]
    both, either = np.minimum(pictures, picture).sum(axis=1), np.maximum(pictures, picture).sum(axis=1)
    out: NDArray[np.float32] = both / np.maximum(either, 1e-6)
    return out


def solidity(mask: NDArray[Any]) -> float:
    """Area of a mask (not empty) over that of its convex hull: 1 for a disc, little for a bent wire or specks."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    hull = cv2.convexHull(points)
    # Points are pixels' middles: a hull of them lacks half a pixel all around.
    whole = cv2.contourArea(hull) + 0.5 * cv2.arcLength(hull, True) + 1
    return min(1.0, len(points) / whole)


def find_symmetry(images: Sequence[Pixels]) -> Symmetry:
    """How a product may be moved, seen from its normal images.

    Two things must survive a movement: the mean image, which shows how aligned products lie, and the directions of the
    edges, which show the grain of a texture whose mean image is flat.

    Args:
        images: uint8 [H, W, 3]; of the same size or not.
    """
    small = np.stack([cv2.resize(image, (48, 48), interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)
    mean = small.mean(axis=0)
    spread = float(np.abs(small - mean).mean())
    structure = float(np.abs(mean - mean.mean(axis=(0, 1))).mean())
    edges = [_directions(cv2.resize(image, (192, 192), interpolation=cv2.INTER_AREA)) for image in images]
    grain = np.mean(edges, axis=0)
    grain_spread = float(np.mean([np.abs(e - grain).sum() for e in edges]))
    ys, xs = np.mgrid[0:48, 0:48] - 23.5
    disc = np.hypot(ys, xs) < 23

    def alike(moved: NDArray[np.float32], moved_grain: NDArray[np.float32], where: NDArray[np.bool_]) -> bool:
        lost = float(np.abs(moved - mean)[where].mean())
        same_picture = lost <= max(1.5 * spread, 0.12 * structure)
        same_grain = float(np.abs(moved_grain - grain).sum()) <= max(1.5 * grain_spread, 0.12)
        return same_picture and same_grain

    everywhere = np.ones((48, 48), bool)
    mirrored_grain = np.roll(grain[::-1], 1)

    def turned(degrees: int) -> bool:
        matrix = cv2.getRotationMatrix2D((23.5, 23.5), degrees, 1.0)
        image = cv2.warpAffine(mean, matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE)
        where = everywhere if degrees % 90 == 0 else disc
        return alike(image, np.roll(grain, degrees // 10), where)

    turns: Turns = "none"
    if turned(180):
        turns = "half"
        if turned(90):
            turns = "any" if turned(40) and turned(70) else "quarter"
    return Symmetry(
        turns=turns,
        mirror_x=alike(mean[:, ::-1], mirrored_grain, everywhere),
        mirror_y=alike(mean[::-1], mirrored_grain, everywhere),
        aligned=structure > 2.0 * spread,
    )


def _directions(image: Pixels) -> NDArray[np.float32]:
    """Share of edge strength in each of 18 directions of 10 degrees (of 180)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    bins = (np.rad2deg(np.arctan2(-dy, dx)) % 180 / 10).astype(int) % 18
    ys, xs = np.mgrid[: grey.shape[0], : grey.shape[1]]
    disc = np.hypot(ys - (grey.shape[0] - 1) / 2, xs - (grey.shape[1] - 1) / 2) < grey.shape[0] / 2  # corners lie oddly
    found = np.bincount(bins[disc], np.hypot(dx, dy)[disc], minlength=18).astype(np.float32)
    # Neighbouring directions blur into one another: a tilt of a few degrees is no other grain.
    found = found + np.roll(found, 1) + np.roll(found, -1)
    return (found / max(float(found.sum()), 1e-6)).astype(np.float32)
