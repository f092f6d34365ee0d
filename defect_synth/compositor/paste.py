"""One recorded defect at one place of one image, computed in a window around it only."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor import pixels
from defect_synth.compositor.area import Area, Box
from defect_synth.compositor.placement import Map, sampling, scale_of, target_box, warp
from defect_synth.compositor.realised import levels, near_agreement, realised_mask
from defect_synth.compositor.transfer import Mode, Real, soft_edge, transfer
from defect_synth.compositor.triplet import Triplet
from defect_synth.samples import Pixels

_CUT = 0.6  # share of a defect that must be in the image
_AGREES = 0.7  # of change and recorded mask: each so far on the other, or beside it
_AROUND = 8  # pixels around a defect that are looked at
STRONG = 0.7  # severity from which a defect must be seen; weaker ones are meant to be faint
SEEN = 6.0  # mean change in grey levels, below which a defect of full severity cannot be learnt from


class Patch(NamedTuple):
    """A painted window.

    Attributes:
        y0: Its top row in the image.
        x0: Its left column.
        pixels: [h, w(, c)], in the image's type; equal to the image where the mask is 0.
        mask: uint8 [h, w] in {0, 1}; every pixel of it changed.
    """

    y0: int
    x0: int
    pixels: NDArray[Any]
    mask: Pixels

    def put(self, image: NDArray[Any], mask: Pixels) -> None:
        """Write both into an image and its mask [H, W], in place."""
        height, width = self.mask.shape
        image[self.y0 : self.y0 + height, self.x0 : self.x0 + width] = self.pixels
        mask[self.y0 : self.y0 + height, self.x0 : self.x0 + width] |= self.mask


def paste(
    image: NDArray[Any],
    triplet: Triplet,
    box: Box,
    affine: Map,
    area: Area,
    *,
    severity: float,
    mode: Mode,
    held: float,
) -> Patch | None:
    """The defect where `affine` puts it, or None where it does not fit or would not be what was recorded.

    Args:
        image: The given image, uint8 or float in [0, 1]; not changed.
        triplet: What was recorded.
        box: Tight box of its mask.
        affine: From its pixels to the image's.
        area: Where the defect may be; what hangs over is cut off.
        severity: Above 0, up to 1.5.
        mode: See `transfer`.
        held: Share of the defect that must lie in `area`.
    """
    place = _window(affine, box, area.shape)
    if place is None:
        return None
    how = sampling(triplet.mask, affine, box)
    line = how == cv2.INTER_NEAREST
    soft = warp(triplet.mask, affine, box, place, outside=0, how=how if line else cv2.INTER_LINEAR)
    there = cv2.countNonZero((soft > 0.5).view(np.uint8))
    recorded = cv2.countNonZero(np.ascontiguousarray(triplet.mask[box[0] : box[2], box[1] : box[3]]))
    if there < max(1.0, _CUT * recorded * scale_of(affine) ** 2):
        return None
    place, soft = _closely(place, soft)
    inside = area.weight(place)
    if int(((soft > 0.5) & (inside > 0.5)).sum()) < held * there:
        return None
    seen, clean = _looks(triplet, affine, box, place, how)
    patch, change = _painted(image, place, seen, clean, soft, inside, severity, mode)
    if severity >= STRONG:
        if not patch.mask.any() or float(change[patch.mask > 0].mean()) < SEEN:
            return None  # dark on dark: a label that nobody could learn
        if near_agreement(patch.mask, (soft * inside > 0.5).astype(np.uint8)) < _AGREES:
            return None
    return patch


def paste_into(
    image: NDArray[Any],
    triplet: Triplet,
    box: Box,
    affine: Map,
    drawn: Pixels,
    area: Area,
    *,
    severity: float,
    mode: Mode,
) -> Patch:
    """The defect in the shape that the user drew.

    Where the recorded defect, laid on the mask by `affine`, does not reach, it goes on as it is nearest to there.

    Args:
        image: The given image.
        triplet: What was recorded.
        box: Tight box of its mask.
        affine: From its pixels to the image's.
        drawn: uint8 [H, W], the user's mask, not empty.
        area: Where else the defect must be.
        severity: Above 0, up to 1.5.
        mode: See `transfer`.
    """
    x, y, width, height = cv2.boundingRect((drawn > 0).astype(np.uint8))
    margin = 8 + round(0.1 * max(width, height))
    place = (
        max(0, y - margin), max(0, x - margin),
        min(drawn.shape[0], y + height + margin), min(drawn.shape[1], x + width + margin),
    )  # fmt: skip
    wanted = (drawn[place[0] : place[2], place[1] : place[3]] > 0).astype(np.float32)
    known = (warp(triplet.mask, affine, box, place, outside=0) > 0.9).astype(np.uint8)
    seen, clean = _looks(triplet, affine, box, place, cv2.INTER_CUBIC)
    missing = (wanted > 0) & (known == 0)
    if known.any() and missing.any():
        _, labels = cv2.distanceTransformWithLabels(1 - known, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        where = np.zeros(int(labels.max()) + 1, np.intp)
        where[labels[known > 0]] = np.flatnonzero(known)
        nearest = where[labels[missing]]
        for look in (seen, clean):
            if look is not None:
                look[missing] = look.reshape(-1, 3)[nearest]
    inside = area.weight(place)
    patch, _ = _painted(image, place, seen, clean, wanted, inside, severity, mode, sharp=True)
    return patch


def _window(affine: Map, box: Box, shape: tuple[int, int]) -> Box | None:
    size = scale_of(affine) * max(box[2] - box[0], box[3] - box[1])
    place = target_box(affine, box, 6 + 0.1 * size, shape)
    return place if place[2] - place[0] >= 3 and place[3] - place[1] >= 3 else None


def _closely(place: Box, soft: Real) -> tuple[Box, Real]:
    """The part of a window that the warped mask and the ring around it fill: of a turned defect often half."""
    x, y, width, height = cv2.boundingRect((soft > 0).view(np.uint8))
    y0, x0 = max(0, y - _AROUND), max(0, x - _AROUND)
    part = soft[y0 : y + height + _AROUND, x0 : x + width + _AROUND]
    top, left = place[0] + y0, place[1] + x0
    return (top, left, top + part.shape[0], left + part.shape[1]), np.ascontiguousarray(part)


def _looks(triplet: Triplet, affine: Map, box: Box, place: Box, how: int) -> tuple[Real, Real | None]:
    clean = None if triplet.clean is None else warp(triplet.clean, affine, box, place, how=how)
    return warp(triplet.image, affine, box, place, how=how), clean


def _painted(
    image: NDArray[Any],
    place: Box,
    seen: Real,
    clean: Real | None,
    soft: Real,
    inside: Real,
    severity: float,
    mode: Mode,
    sharp: bool = False,
) -> tuple[Patch, NDArray[np.float32]]:
    """The window with the defect, and how much each of its pixels changed; `sharp`: nothing beyond `soft`."""
    target = pixels.window(image, place)
    alpha = (soft if sharp else soft_edge(soft, seam=clean is None)) * inside
    before = image[place[0] : place[2], place[1] : place[3]]
    return settled(place, before, pixels.like(image, transfer(target, seen, clean, alpha, severity, mode, inside)))


def settled(place: Box, before: NDArray[Any], after: NDArray[Any]) -> tuple[Patch, NDArray[np.float32]]:
    """Keep of a painted window what can be seen, and nothing else: then mask and change are one."""
    change = levels(before, after)
    mask = realised_mask(change)
    kept = cv2.copyTo(np.ascontiguousarray(after), mask, before.copy())
    return Patch(place[0], place[1], np.reshape(kept, before.shape), mask), change
