"""How a part lies in an image: a similarity transform from the part's own frame, found by comparing it with others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product import polar
from defect_synth.product.frame import ProductFrame, product_frame
from defect_synth.product.polar import ANGLES, Match, Spectrum
from defect_synth.samples import Pixels

_REFERENCES = 5  # parts tried as the first template
_ROUNDS = 4  # of aligning all parts with their mean
_ORDERS = (1, 2, 3, 4, 5, 6, 8, 10, 12)  # numbers of turns that a part may look alike after
_FEWEST = 6  # parts to learn from
_REFLECTION = 1.8  # loss of score by a reflection over that by a turn that makes no difference
_MOST = 60  # parts to learn from
_AS_LARGE = 0.6  # area of a part over that of the largest one in the image
_GRID = 96  # side of the outline
_AGREEMENT = 0.9  # share of the parts on which two templates must agree
_SAME = 6.0  # degrees within which they agree
_SHARE_MIRRORED = 0.08  # of the parts on which they differ by a reflection, from which that is a symmetry
_TURNED_OVER = 0.15  # by how much better a part that is turned over fits if it is mirrored
_SHARE_TURNED_OVER = 0.1  # of the parts that must be mirrored for mirroring to be considered at all
_RELIABLE = 0.5  # confidence from which a pose is relied upon
_ALIKE = 12.0  # degrees: nearer poses are the same pose, found twice


class Movement(NamedTuple):
    """A rotation after an optional mirroring: with offsets as y + ix, z becomes e^(i angle) z, or of its conjugate.

    Attributes:
        angle: Radians.
        flip: Whether x is mirrored first.
    """

    angle: float = 0.0
    flip: bool = False

    def after(self, first: Movement) -> Movement:
        """The movement that is `first`, then this one."""
        angle = self.angle + (-first.angle if self.flip else first.angle)
        return Movement(float(angle % (2 * np.pi)), self.flip != first.flip)

    def inverse(self) -> Movement:
        """The movement that undoes this one."""
        return self if self.flip else Movement(float(-self.angle % (2 * np.pi)))

    def apply(self, y: float, x: float) -> tuple[float, float]:
        """Where an offset (y, x) goes."""
        x = -x if self.flip else x
        cos, sin = float(np.cos(self.angle)), float(np.sin(self.angle))
        return y * cos - x * sin, y * sin + x * cos

    def apply_all(self, offsets: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where many offsets (y, x) [n, 2] go: all y and all x."""
        z = offsets[:, 0] + 1j * offsets[:, 1]
        z = np.exp(1j * self.angle) * (z.conj() if self.flip else z)
        return z.real, z.imag


UNMOVED = Movement()


@dataclass(frozen=True)
class PartPose:
    """How a part lies in an image.

    Attributes:
        frame: Its centre and radius.
        movement: From its own frame to the image.
        confidence: 0 to 1; below 0.5 the pose should not be relied upon.
    """

    frame: ProductFrame
    movement: Movement = UNMOVED
    confidence: float = 1.0

    @property
    def is_reliable(self) -> bool:
        """Whether the pose should be relied upon."""
        return self.confidence >= _RELIABLE

    def resized(self, factor: float) -> PartPose:
        """The pose in a copy of the image that is `factor` times as large."""
        y, x, radius = self.frame
        frame = ProductFrame((y + 0.5) * factor - 0.5, (x + 0.5) * factor - 0.5, radius * factor)
        return PartPose(frame, self.movement, self.confidence)

    def to_frame(self, y: float, x: float) -> tuple[float, float]:
        """A pixel in the part's own frame, (y, x) in radii from its centre."""
        offset = (y - self.frame.y) / self.frame.radius, (x - self.frame.x) / self.frame.radius
        return self.movement.inverse().apply(*offset)

    def to_image(self, y: float, x: float) -> tuple[float, float]:
        """The inverse of `to_frame`."""
        moved_y, moved_x = self.movement.apply(y, x)
        return self.frame.y + moved_y * self.frame.radius, self.frame.x + moved_x * self.frame.radius


class Part(NamedTuple):
    """A part in an image: its pose, and the pixels that it covers, bool [H, W]."""

    pose: PartPose
    foreground: NDArray[np.bool_]


def choose_part(parts: Sequence[Part], seed: int) -> Part:
    """One of the parts in an image, all equally likely."""
    return parts[0] if len(parts) == 1 else parts[int(np.random.default_rng((seed, 0x9A27)).integers(len(parts)))]


def part_of_mask(parts: Sequence[Part], mask: Pixels) -> Part:
    """The part that a defect [H, W] is on: the one that has most of it, or the nearest."""
    if len(parts) == 1:
        return parts[0]
    shares = [int((part.foreground & (mask > 0)).sum()) for part in parts]
    if max(shares):
        return parts[int(np.argmax(shares))]
    ys, xs = np.nonzero(mask)
    return min(parts, key=lambda p: (p.pose.frame.y - ys.mean()) ** 2 + (p.pose.frame.x - xs.mean()) ** 2)


def part_without_defect(
    poses: PoseFinder | None, image: Pixels, foreground: NDArray[np.bool_], mask: Pixels
) -> Part | None:
    """The part that a defect is on, as it would be without the defect: a bent tip does not belong to it.

    Args:
        poses: Finds how parts lie; None: that is not known.
        image: uint8 [H, W, 3], with the defect.
        foreground: What was found of the parts in the image, bool [H, W], not empty.
        mask: The defect, uint8 [H, W].

    Returns:
        None: There is no pose that could be relied upon.
    """
    if poses is None:
        return None
    pose = part_of_mask(poses.find_all(image, foreground), mask).pose
    if not pose.is_reliable:
        return None
    expected = poses.expected(pose, (foreground.shape[0], foreground.shape[1]))
    return Part(pose, expected) if expected.any() else None


@dataclass(frozen=True)
class LooksAlike:
    """Movements in its own frame after which a part looks as before.

    Attributes:
        order: Number of equal turns that make a whole one; 1: none.
        axis: Angle in radians by which the mirrored part must be turned; None: no mirrored part looks alike.
    """

    order: int = 1
    axis: float | None = None

    def turns(self) -> list[Movement]:
        """Those without mirroring, the identity first."""
        return [Movement(2 * np.pi * k / self.order) for k in range(self.order)]

    def movements(self) -> list[Movement]:
        """All of them, the identity first."""
        turns = self.turns()
        return turns if self.axis is None else turns + [turn.after(Movement(self.axis, True)) for turn in turns]

    def draw(self, rng: np.random.Generator) -> Movement:
        """A random one."""
        movements = self.movements()
        return movements[int(rng.integers(len(movements)))]


@dataclass(frozen=True, eq=False)
class PoseFinder:
    """Finds how parts lie by comparing them with the mean of known ones.

    Attributes:
        template: Mean spectrum of parts in their own frame, norm 1: complex64 [5, 28, 61].
        outline: The mean part in its own frame, 255 on it: uint8 [96, 96], `reach` radii from the centre to the sides.
        reach: Distance of the outermost ring from the centre, in radii.
        looks_alike: Movements after which the part looks as before.
        turned_over: Whether parts may lie mirrored.
        usual: Median score of known parts.
        gap: Median lead of the best pose of known parts over any other one.
    """

    template: Spectrum
    outline: Pixels
    reach: float
    looks_alike: LooksAlike
    turned_over: bool
    usual: float
    gap: float

    def find(self, image: Pixels, foreground: NDArray[np.bool_]) -> PartPose:
        """The pose of the part that a foreground [H, W] marks in an image [H, W, 3].

        Raises:
            DataError: The foreground is empty.
        """
        frame = product_frame(foreground)
        found = polar.match(polar.spectrum(image, foreground, frame, self.reach), self.template)
        angle, flip, score = found.best(mirrored=self.turned_over)
        movement = Movement(angle, flip)
        lead = score - _second(found, movement, self.looks_alike, mirrored=self.turned_over)
        trust = min(score / self.usual, lead / self.gap if self.gap > 0 else 1.0)
        return PartPose(frame, movement, float(np.clip(trust, 0, 1)))

    def find_all(self, image: Pixels, foreground: NDArray[np.bool_]) -> list[Part]:
        """Each part in an image, the largest first."""
        return [Part(self.find(image, part), part) for part in separate_parts(foreground)]

    def expected(self, pose: PartPose, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Where the part would be in an image of a shape [H, W] if it had no defect: bool [H, W]."""
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpAffine(self.outline, _to_grid(pose, self.reach), (shape[1], shape[0]), flags=flags)
        return np.asarray(seen > 127)


def learn_poses(parts: Sequence[tuple[Pixels, NDArray[np.bool_]]]) -> PoseFinder | None:
    """Learn how a part looks in its own frame from pictures of it, whatever its pose.

    Two templates are learnt from two halves of the pictures. Where they agree on how each part lies, its pose is known;
    turns and reflections on which they differ are those after which the part looks alike.

    Args:
        parts: Normal images uint8 [H, W, 3] with their foregrounds bool [H, W]; at most 60 are used.

    Returns:
        None: There are no parts, or the halves do not agree: parts are round, or each looks different.
    """
    chosen = np.unique(np.linspace(0, len(parts) - 1, min(_MOST, len(parts))).astype(int)) if parts else ()
    whole = [parts[i] for i in chosen if parts[i][1].any() and not parts[i][1].all()]
    parts = [(image, part) for image, found in whole for part in separate_parts(found)]
    if len(parts) < _FEWEST:
        return None
    frames = [product_frame(found) for _, found in parts]
    reach = float(np.median([_reach(found, frame) for (_, found), frame in zip(parts, frames, strict=True)]))
    spectra = [polar.spectrum(*part, frame, reach) for part, frame in zip(parts, frames, strict=True)]
    turned_over = _may_be_turned_over(spectra)
    order = _order(_between(spectra, mirrored=turned_over))
    if order is None:
        return None
    axis = None if turned_over else _mirror_axis(_between(spectra, mirrored=True), order)
    template = _align(spectra, mirrored=turned_over)
    found = [polar.match(s, template) for s in spectra]
    best = [f.best(mirrored=turned_over) for f in found]
    if axis is not None and not _reflection_fits(found, best, order, template):
        axis = None
    alike = LooksAlike(order, axis)
    poses = [PartPose(frame, Movement(*b[:2])) for frame, b in zip(frames, best, strict=True)]
    outline = _mean_outline([part for _, part in parts], poses, reach)
    leads = [b[2] - _second(f, Movement(*b[:2]), alike, mirrored=turned_over) for f, b in zip(found, best, strict=True)]
    usual, gap = float(np.median([b[2] for b in best])), float(np.median(leads))
    return PoseFinder(template, outline, reach, alike, turned_over, usual, gap)


def _may_be_turned_over(spectra: Sequence[Spectrum]) -> bool:
    """Whether some parts fit well only if they are mirrored; that they fit a little better may be due to the light."""
    as_they_are, mirrored = (_align(spectra, mirrored=allowed) for allowed in (False, True))
    found = [polar.match(s, mirrored).best(mirrored=True) for s in spectra]
    flips = np.array([f[1] for f in found])
    fewer = flips if flips.mean() <= 0.5 else ~flips
    if fewer.mean() < _SHARE_TURNED_OVER:
        return False
    gain = [
        f[2] - polar.match(s, as_they_are).best(mirrored=False)[2]
        for s, f, chosen in zip(spectra, found, fewer, strict=True)
        if chosen
    ]
    return float(np.median(gain)) > _TURNED_OVER


def _between(spectra: Sequence[Spectrum], *, mirrored: bool) -> list[Movement]:
    """From the frame of the template of one half of the parts to that of the other half, as each part says."""
    halves = _align(spectra[::2], mirrored=mirrored), _align(spectra[1::2], mirrored=mirrored)
    first, second = ([Movement(*polar.match(s, half).best(mirrored=mirrored)[:2]) for s in spectra] for half in halves)
    return [b.inverse().after(a) for a, b in zip(first, second, strict=True)]


def _reflection_fits(
    found: Sequence[Match], best: Sequence[tuple[float, bool, float]], order: int, template: Spectrum
) -> bool:
    """Whether mirrored parts fit about as well as after a turn that is known to make no difference.

    Two templates may differ by chance on a few parts, and printed characters are nearly as well matched by their mirror
    image: wrongly mirrored letters are worse than a reflection that is not made use of.
    """
    moves, scores = [Movement(*b[:2]) for b in best], np.array([b[2] for b in best])

    def loss(after: Movement) -> float:
        return float(np.median(scores - np.array([_at(f, m.after(after)) for f, m in zip(found, moves, strict=True)])))

    mirrored = -2 * np.pi * int(polar.match(template, template).scores[1].argmax()) / ANGLES
    return loss(Movement(mirrored, True)) < _REFLECTION * loss(Movement(2 * np.pi / order))


def _at(found: Match, move: Movement) -> float:
    """The score of one movement, between the sampled turns."""
    at = (-move.angle if move.flip else move.angle) / (2 * np.pi) * ANGLES
    low = int(np.floor(at))
    row = found.scores[int(move.flip)]
    return float(row[low % ANGLES] * (low + 1 - at) + row[(low + 1) % ANGLES] * (at - low))


def _order(between: Sequence[Movement]) -> int | None:
    """The smallest number of turns that explains where two templates differ; None: nothing does."""
    return next((n for n in _ORDERS if _share(_more_frequent(between), n) >= _AGREEMENT), None)


def _more_frequent(between: Sequence[Movement]) -> NDArray[np.float64]:
    """Angles without or with a reflection, whichever are more: the templates may be mirror images of each other."""
    straight = np.array([m.angle for m in between if not m.flip])
    mirrored = np.array([m.angle for m in between if m.flip])
    return straight if len(straight) >= len(mirrored) else mirrored


def _mirror_axis(between: Sequence[Movement], order: int) -> float | None:
    """By which angle a mirrored part must be turned to look alike; None: it never does."""
    straight = np.array([m.angle for m in between if not m.flip])
    mirrored = np.array([m.angle for m in between if m.flip])
    if min(len(straight), len(mirrored)) < _SHARE_MIRRORED * len(between):
        return None
    a, b = (float(np.angle(np.exp(1j * order * angles).mean())) / order for angles in (straight, mirrored))
    return float((b - a) % (2 * np.pi))


def _share(angles: NDArray[np.float64], order: int) -> float:
    """The largest share of angles that are the same up to multiples of 360 / order degrees."""
    difference = np.abs(np.angle(np.exp(1j * order * (angles[:, None] - angles[None])))) / order
    return float((difference < np.deg2rad(min(_SAME, 36 / order))).mean(axis=1).max())


def separate_parts(foreground: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The parts in an image, the largest first: several only if they are of about the same size."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8), connectivity=4)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count <= 2:
        return [foreground]
    large = [int(k) for k in np.argsort(-areas, kind="stable") if areas[k] >= _AS_LARGE * areas.max()]
    return [foreground] if len(large) == 1 else [labels == k + 1 for k in large]


def _mean_outline(parts: Sequence[NDArray[np.bool_]], poses: Sequence[PartPose], reach: float) -> Pixels:
    """The mean of foregrounds in the part's own frame: uint8 [96, 96]."""
    total = np.zeros((_GRID, _GRID), np.float64)
    for part, pose in zip(parts, poses, strict=True):
        values = part.astype(np.uint8) * np.uint8(255)
        total += cv2.warpAffine(values, _to_grid(pose, reach), (_GRID, _GRID))
    return np.rint(total / len(parts)).astype(np.uint8)


def _to_grid(pose: PartPose, reach: float) -> NDArray[np.float64]:
    """The affine map [2, 3] from the pixels (x, y) of an image to those of the grid of `outline`."""
    scale = (_GRID / 2) / reach
    middle = (_GRID - 1) / 2
    there = np.asarray([[pose.frame.x, pose.frame.y], *(pose.to_image(*p)[::-1] for p in ((0, 1), (1, 0)))], np.float32)
    here = np.asarray([[middle, middle], [middle + scale, middle], [middle, middle + scale]], np.float32)
    return np.asarray(cv2.getAffineTransform(there, here), np.float64)


def _reach(foreground: NDArray[np.bool_], frame: ProductFrame) -> float:
    ys, xs = np.nonzero(foreground)
    return float(np.quantile(np.hypot(ys - frame.y, xs - frame.x), 0.999)) / frame.radius * 1.02


def _align(spectra: Sequence[Spectrum], *, mirrored: bool) -> Spectrum:
    """The mean of parts turned alike, as a template."""
    best: tuple[float, Spectrum] | None = None
    for first in np.unique(np.linspace(0, len(spectra) - 1, _REFERENCES).astype(int)):
        template = spectra[int(first)]
        for _ in range(_ROUNDS):
            found = [polar.match(s, template).best(mirrored=mirrored) for s in spectra]
            turned = [polar.turned_back(s, *f[:2]) for s, f in zip(spectra, found, strict=True)]
            template = polar.normalised(np.sum(turned, axis=0))
        quality = float(np.median([f[2] for f in found]))
        if best is None or quality > best[0]:
            best = quality, template
    assert best is not None
    return best[1]


def _second(found: Match, best: Movement, looks_alike: LooksAlike, *, mirrored: bool) -> float:
    """The best score of any pose that looks unlike the best one."""
    rows = found.scores.copy()
    width = round(_ALIKE / 360 * ANGLES)
    for move in (best.after(alike) for alike in looks_alike.movements()):
        turn = -move.angle if move.flip else move.angle
        at = round(turn / (2 * np.pi) * ANGLES)
        rows[int(move.flip), np.arange(at - width, at + width + 1) % ANGLES] = -1
    return float((rows if mirrored else rows[:1]).max())
