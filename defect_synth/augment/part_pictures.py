"""Pictures of the parts of a data set: in their common frame, their mean, and masks drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.painter.config import PAINT_128
from defect_synth.painter.mask_proposals import MaskProposals, measured_shape
from defect_synth.painter.training_images import DefectImage, NormalImage, cut_exemplars
from defect_synth.product.arrangement_check import ArrangementCheck, CheckedPart
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.pose import UNMOVED, Movement, PartPose, part_of_mask
from defect_synth.samples import Pixels

Colour = tuple[int, int, int]

REAL: Colour = (255, 120, 0)
PROPOSED: Colour = (60, 150, 255)
PAGE_WIDTH, GAP = 1480, 8
NUM_PROPOSALS = 24  # of each defect
_IMAGES = 12  # good images that masks are proposed for
_OUTSIDE = 255  # grey level beyond the image
_FINE = 2  # pixels of a picture per pixel of the page, so that pictures can be enlarged
_WIDE, _TALL = 2.0, 0.6  # width of a part over its height from which fewer, or up to which more, fit beside each other
_LONGEST = 1600  # side of a picture, in pixels
_SMALL = 10  # side of the smallest mask that can be seen without a circle around it, in pixels of a picture
_PALEST, _CONTRAST = 100.0, 0.9  # how pale the mean part is below masks: grey level of black, and of white over 255
_HEAT, _DARK = 0.75, 0.6  # opacity where most masks lie, and how much darker than their colour outlines are
_UNDERLAY: Colour = (20, 20, 20)


class PlacedMask(NamedTuple):
    """A mask [H, W] in an image, and the part in it that the mask is on."""

    mask: Pixels
    pose: PartPose


class PartPictures:
    """Draws the parts of a checked data set.

    Args:
        check: What was found.

    Attributes:
        columns: How many pictures of single parts fit beside each other: 4, 8 or 16.
        mean: The mean of the good parts whose pose is not doubtful, uint8 [h, w, 3].
    """

    def __init__(self, check: ArrangementCheck) -> None:
        self._check, self._frame = check, check.frame
        self._moves = _alike(check)
        aspect = self._frame.half[1] / self._frame.half[0]
        if not check.is_placed:  # images are shown as they are
            aspect = float(np.median([part.seen.image.shape[1] / part.seen.image.shape[0] for part in check.normals]))
        self.columns = 4 if aspect >= _WIDE else 8 if aspect > _TALL else 16
        self._tile = self._longest(PAGE_WIDTH // self.columns - GAP)
        self._panel = self._longest(PAGE_WIDTH // (2 if aspect >= _WIDE else 4) - GAP)
        certain = [part for part in check.normals if not part.doubt] or check.normals
        total = np.zeros((*self._frame.size(self._panel), 3), np.float64)
        for part in certain:
            total += self._frame.carry(part.seen.image, part.part.pose, self._panel)
        self.mean: Pixels = np.rint(total / len(certain)).astype(np.uint8)

    def _longest(self, width: int) -> int:
        """Longer side of a picture that is `width` pixels wide on the page."""
        return min(_LONGEST, round(_FINE * width * max(self._frame.half) / self._frame.half[1]))

    def tile(self, part: CheckedPart, mask: Pixels | None = None, colour: Colour = REAL) -> Pixels:
        """A part in the common frame, or the whole image if poses mean nothing, with the outline of a mask [H, W]."""
        image, pose = part.seen.image, part.part.pose
        if self._check.is_placed:
            picture: Pixels = self._frame.carry(image, pose, self._tile, outside=_OUTSIDE)
            seen = None if mask is None else self._frame.carry_mask(mask, pose, self._tile)
        else:
            longest = _FINE * (PAGE_WIDTH // self.columns - GAP)
            picture, seen = _enlarged(image, longest), None if mask is None else _enlarged(mask, longest)
        if seen is not None:
            lines = _contours(seen)
            cv2.polylines(picture, lines, True, _UNDERLAY, 2 * _FINE + 1, cv2.LINE_AA)
            cv2.polylines(picture, lines, True, colour, _FINE, cv2.LINE_AA)
            if int(seen.sum()) < _SMALL**2:
                _circle(picture, lines, colour)
        return picture

    def shows(self, part: CheckedPart, mask: Pixels) -> bool:
        """Whether a mask [H, W] lies inside the picture of its part."""
        return not self._check.is_placed or bool(self._frame.carry_mask(mask, part.part.pose, self._tile).any())

    def on_mean(self, masks: Sequence[PlacedMask], colour: Colour) -> Pixels:
        """The mean part with masks: their outlines, and how densely they lie on it if it is turned as it may be."""
        grey = np.repeat(cv2.cvtColor(self.mean, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
        out = _PALEST + (1 - _PALEST / 255) * _CONTRAST * grey.astype(np.float32)
        density = np.zeros(out.shape[:2], np.float32)
        lines: list[NDArray[np.int32]] = []
        for placed in masks:
            for move in self._moves:
                pose = placed.pose
                turned = PartPose(pose.frame, pose.movement.after(move.inverse()))
                density += self._frame.carry_mask(placed.mask, turned, self._panel)
            lines += _contours(self._frame.carry_mask(placed.mask, placed.pose, self._panel))
        opacity = _HEAT * np.sqrt(density / max(float(density.max()), 1e-6))[:, :, None]
        out = out * (1 - opacity) + np.array(colour, np.float32) * opacity
        picture: Pixels = np.rint(out).clip(0, 255).astype(np.uint8)
        cv2.polylines(picture, lines, True, tuple(int(_DARK * level) for level in colour), 1, cv2.LINE_AA)
        return picture


def propose_masks(check: ArrangementCheck) -> dict[str, list[tuple[CheckedPart, Pixels]]]:
    """New masks of each defect on good images, as a painter that is trained on these images would place them.

    Returns:
        Defect -> parts in good images, each with a mask uint8 [H, W] that was proposed for it.
    """
    defects = {
        name: [DefectImage(part.seen.image, part.seen.mask) for part in parts]
        for name, parts in check.defects.items()
        if parts
    }
    if not defects:
        return {}
    poses = check.arrangement.poses
    side = PAINT_128.model.side
    reference = int(np.median([part.seen.longest for part in check.normals]))
    shapes = {name: [measured_shape(item, poses) for item in items] for name, items in defects.items()}
    masks = MaskSource(shapes, check.arrangement.symmetry, check.category, None if poses is None else poses.looks_alike)
    exemplars = {name: cut_exemplars(items, side, reference) for name, items in defects.items()}
    of_image: dict[str, list[CheckedPart]] = {}
    for part in check.normals:
        of_image.setdefault(part.seen.name, []).append(part)
    images = [parts for parts in of_image.values() if not all(part.doubt for part in parts)] or list(of_image.values())
    images = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).astype(int))]
    normals = [NormalImage(parts[0].seen.image, parts[0].seen.foreground) for parts in images]
    propose = MaskProposals(masks, exemplars, normals, side, reference, poses)
    proposed: dict[str, list[tuple[CheckedPart, Pixels]]] = {}
    for name in defects:
        proposed[name] = []
        for seed in range(NUM_PROPOSALS):
            number = seed % len(normals)
            mask = propose(name, normals[number], seed)
            chosen = part_of_mask([part.part for part in images[number]], mask)
            proposed[name].append((next(part for part in images[number] if part.part is chosen), mask))
    return proposed


def _alike(check: ArrangementCheck) -> list[Movement]:
    """Movements after which a part looks as before, in its own frame."""
    if check.arrangement.poses is not None:
        return check.arrangement.poses.looks_alike.movements()
    symmetry = check.arrangement.symmetry
    if not symmetry.aligned:
        return [UNMOVED]
    turns = [Movement(2 * np.pi * k / symmetry.num_rotations) for k in range(symmetry.num_rotations)]
    if not symmetry.can_mirror:
        return turns
    mirror = Movement(0.0 if symmetry.mirror_x else np.pi, True)
    return turns + [turn.after(mirror) for turn in turns]


def _enlarged(image: Pixels, longest: int) -> Pixels:
    """An image or a mask with a longer side of `longest`."""
    scale = longest / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    if image.ndim == 3:
        return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)
    seen = cv2.resize(image * np.uint8(255), size, interpolation=how)
    return np.asarray(seen > min(127, int(seen.max()) // 2), np.uint8)


def _circle(picture: Pixels, contours: Sequence[NDArray[np.int32]], colour: Colour) -> None:
    """Draw a circle around what could be overlooked."""
    if contours:
        (x, y), radius = cv2.minEnclosingCircle(np.concatenate(contours))
        cv2.circle(picture, (round(x), round(y)), round(radius) + 2 * _SMALL, colour, 1, cv2.LINE_AA)


def _contours(mask: Pixels) -> list[NDArray[np.int32]]:
    return [np.asarray(c, np.int32) for c in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]]
