"""Paste one recorded defect at one position of one image, working in a window around it only."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor import pixels
from defect_synth.compositor.image_region import Box, ImageRegion
from defect_synth.compositor.placement import Affine, interpolation_for, scale_of, target_box, warp
from defect_synth.compositor.recorded_defect import RecordedDefect
from defect_synth.compositor.transfer import Mode, Real, soft_edge, transfer
from defect_synth.compositor.visible_change import grey_level_change, tolerant_overlap, visible_change_mask
from defect_synth.samples import Pixels

_IN_IMAGE = 0.6  # share of a defect that must be in the image
_AGREEMENT = 0.7  # smallest tolerant overlap of the visible change and the recorded mask
_MARGIN = 8  # pixels around a defect that are used
VISIBLE_SEVERITY = 0.7  # severity from which a defect must be visible; weaker ones are meant to be faint
VISIBLE_CHANGE = 6.0  # mean change in grey levels from which a defect counts as visible


class DefectPatch(NamedTuple):
    """A window of an image with a defect in it.

    Attributes:
        y0: Top row of the window in the image.
        x0: Left column of the window in the image.
        pixels: [h, w] or [h, w, c] in the dtype of the image; equal to the image where the mask is 0.
        mask: uint8 [h, w] in {0, 1}; each of its pixels visibly changed.
    """

    y0: int
    x0: int
    pixels: NDArray[Any]
    mask: Pixels

    def write_into(self, image: NDArray[Any], mask: Pixels) -> None:
        """Write the window into an image and its mask [H, W], in place."""
        height, width = self.mask.shape
        image[self.y0 : self.y0 + height, self.x0 : self.x0 + width] = self.pixels
        mask[self.y0 : self.y0 + height, self.x0 : self.x0 + width] |= self.mask


def paste(
    image: NDArray[Any],
    recorded: RecordedDefect,
    box: Box,
    affine: Affine,
    region: ImageRegion,
    *,
    severity: float,
    mode: Mode,
    min_inside: float,
) -> DefectPatch | None:
    """Paste a defect where `affine` puts it; None if it does not fit or would not look like what was recorded.

    Args:
        image: The given image, uint8 or float in [0, 1]; not changed.
        recorded: The recorded defect.
        box: Tight box (y0, x0, y1, x1) of its mask.
        affine: Map from its pixels to those of the image.
        region: Where the defect may be; whatever is outside is clipped.
        severity: Above 0, up to 1.5.
        mode: See `transfer`.
        min_inside: Share of the defect that must lie in `region`.
    """
    place = _window(affine, box, region.shape)
    if place is None:
        return None
    how = interpolation_for(recorded.mask, affine, box)
    line = how == cv2.INTER_NEAREST
    soft = warp(recorded.mask, affine, box, place, outside=0, how=how if line else cv2.INTER_LINEAR)
    there = cv2.countNonZero((soft > 0.5).view(np.uint8))
    area = cv2.countNonZero(np.ascontiguousarray(recorded.mask[box[0] : box[2], box[1] : box[3]]))
    if there < max(1.0, _IN_IMAGE * area * scale_of(affine) ** 2):
        return None
    place, soft = _tight_window(place, soft)
    inside = region.weight(place)
    if int(((soft > 0.5) & (inside > 0.5)).sum()) < min_inside * there:
        return None
    seen, clean = _warp_pair(recorded, affine, box, place, how)
    patch, change = _transferred(image, place, seen, clean, soft, inside, severity, mode)
    if severity >= VISIBLE_SEVERITY:
        if not patch.mask.any() or float(change[patch.mask > 0].mean()) < VISIBLE_CHANGE:
            return None  # such as dark on dark: nobody could learn from this label
        if tolerant_overlap(patch.mask, (soft * inside > 0.5).astype(np.uint8)) < _AGREEMENT:
            return None
    return patch


def paste_into_mask(
    image: NDArray[Any],
    recorded: RecordedDefect,
    box: Box,
    affine: Affine,
    drawn: Pixels,
    region: ImageRegion,
    *,
    severity: float,
    mode: Mode,
) -> DefectPatch:
    """Paste a defect in the shape of a mask drawn by the user.

    Pixels of the mask that the recorded defect does not reach get the value of its nearest pixel.

    Args:
        image: The given image, uint8 or float in [0, 1]; not changed.
        recorded: The recorded defect.
        box: Tight box (y0, x0, y1, x1) of its mask.
        affine: Map from its pixels to those of the image.
        drawn: uint8 [H, W], the user's mask, not empty.
        region: Where the defect may be; whatever is outside is clipped.
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
    known = (warp(recorded.mask, affine, box, place, outside=0) > 0.9).astype(np.uint8)
    seen, clean = _warp_pair(recorded, affine, box, place, cv2.INTER_CUBIC)
    missing = (wanted > 0) & (known == 0)
    if known.any() and missing.any():
        _, labels = cv2.distanceTransformWithLabels(1 - known, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
        where = np.zeros(int(labels.max()) + 1, np.intp)
        where[labels[known > 0]] = np.flatnonzero(known)
        nearest = where[labels[missing]]
        for warped in (seen, clean):
            if warped is not None:
                warped[missing] = warped.reshape(-1, 3)[nearest]
    inside = region.weight(place)
    patch, _ = _transferred(image, place, seen, clean, wanted, inside, severity, mode, sharp=True)
    return patch


def _window(affine: Affine, box: Box, shape: tuple[int, int]) -> Box | None:
    size = scale_of(affine) * max(box[2] - box[0], box[3] - box[1])
    place = target_box(affine, box, 6 + 0.1 * size, shape)
    return place if place[2] - place[0] >= 3 and place[3] - place[1] >= 3 else None


def _tight_window(place: Box, soft: Real) -> tuple[Box, Real]:
    """Shrink a window to the warped mask and the ring around it; for rotated defects this is often half of it."""
    x, y, width, height = cv2.boundingRect((soft > 0).view(np.uint8))
    y0, x0 = max(0, y - _MARGIN), max(0, x - _MARGIN)
    part = soft[y0 : y + height + _MARGIN, x0 : x + width + _MARGIN]
    top, left = place[0] + y0, place[1] + x0
    return (top, left, top + part.shape[0], left + part.shape[1]), np.ascontiguousarray(part)


def _warp_pair(recorded: RecordedDefect, affine: Affine, box: Box, place: Box, how: int) -> tuple[Real, Real | None]:
    clean = None if recorded.clean is None else warp(recorded.clean, affine, box, place, how=how)
    return warp(recorded.image, affine, box, place, how=how), clean


def _transferred(
    image: NDArray[Any],
    place: Box,
    seen: Real,
    clean: Real | None,
    soft: Real,
    inside: Real,
    severity: float,
    mode: Mode,
    sharp: bool = False,
) -> tuple[DefectPatch, NDArray[np.float32]]:
    """The window with the defect, and the change of each of its pixels; with `sharp`, alpha is `soft` itself."""
    target = pixels.window(image, place)
    alpha = (soft if sharp else soft_edge(soft, seam=clean is None)) * inside
    before = image[place[0] : place[2], place[1] : place[3]]
    return keep_visible(place, before, pixels.like(image, transfer(target, seen, clean, alpha, severity, mode, inside)))


def keep_visible(place: Box, before: NDArray[Any], after: NDArray[Any]) -> tuple[DefectPatch, NDArray[np.float32]]:
    """Undo every change that cannot be seen, so that the mask is exactly where the window changed.

    Returns the window and the change of each pixel in grey levels, float32 [h, w].
    """
    change = grey_level_change(before, after)
    mask = visible_change_mask(change)
    kept = cv2.copyTo(np.ascontiguousarray(after), mask, before.copy())
    return DefectPatch(place[0], place[1], np.reshape(kept, before.shape), mask), change
