"""Filling a mask with a donor that does not cover all of it: the donor is continued by reflection. Not in the paper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_RIM = 5  # pixels: width of the kernel that takes off the border of a donor where it ends inside the mask
_SMOOTHING = 3.0  # pixels: standard deviation by which the border of a donor is smoothed to reflect in it


def fill_mask(
    view: Pixels, donor: Pixels, mask: NDArray[np.bool_], donor_mask: NDArray[np.bool_]
) -> tuple[Pixels, float]:
    """Fill a mask in a view with a donor.

    Args:
        view: uint8 [H, W, 3].
        donor: A real defect with its surroundings, uint8 [H, W, 3].
        mask: The mask to fill, [H, W], not empty.
        donor_mask: Where the donor shows the defect, [H, W].

    Returns:
        The filled view, uint8 [H, W, 3], equal to `view` outside the mask, and the share of the mask that the donor
        covers. The rest of the mask shows the donor reflected in its border; if the donor covers nothing, the mask
        shows what lies there in the donor's image.
    """
    out = view.copy()
    covered = mask & donor_mask
    if not covered.any():
        out[mask] = donor[mask]
        return out, 0.0
    np.copyto(out, donor, where=covered[:, :, None])
    uncovered = mask & ~donor_mask
    if uncovered.any():
        x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
        box = slice(y, y + height), slice(x, x + width)
        # The outermost pixels of a donor are mixed with its surroundings: they would draw its border into the mask.
        core = covered[box]
        if _depth(core) > _RIM:  # a thin donor is nothing but border
            core = core & (cv2.dilate(uncovered[box].astype(np.uint8), np.ones((_RIM, _RIM), np.uint8)) == 0)
        rest = mask[box] & ~core
        np.copyto(out[box], _reflect(donor[box], core, rest), where=rest[:, :, None])
    return out, float(covered.sum() / mask.sum())


def _depth(mask: NDArray[np.bool_]) -> float:
    """Distance from the border of a mask to its deepest pixel; the border of the array counts as border."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    return float(cv2.distanceTransform(padded, cv2.DIST_L2, 5).max())


def _reflect(image: Pixels, core: NDArray[np.bool_], rest: NDArray[np.bool_]) -> Pixels:
    """The reflection of `image` in the border of `core`, valid in `rest`: uint8 [H, W, 3].

    The border of a mask is ragged, and a reflection in it would be noise, so the offsets to it are smoothed. Where the
    reflected position is outside `core`, the nearest pixel of `core` is shown.
    """
    _, labels = cv2.distanceTransformWithLabels(
        (~core).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    index = np.zeros(int(labels.max()) + 1, np.int64)
    index[labels[core]] = np.flatnonzero(core)
    nearest = index[labels]
    ys, xs = np.nonzero(rest)
    nearest_y, nearest_x = np.divmod(nearest[rest], core.shape[1])
    offsets = np.zeros((*core.shape, 3), np.float32)  # x, y and the weight of the smoothing
    offsets[ys, xs] = np.stack([nearest_x - xs, nearest_y - ys, np.ones_like(xs)], axis=1)
    smooth = cv2.GaussianBlur(offsets, (0, 0), _SMOOTHING, borderType=cv2.BORDER_CONSTANT)[ys, xs]
    reflected = np.zeros((*core.shape, 2), np.float32)
    reflected[ys, xs] = np.stack([xs, ys], axis=1) + 2 * smooth[:, :2] / smooth[:, 2:]
    extended = image.reshape(-1, 3)[nearest]
    out: Pixels = cv2.remap(extended, reflected, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return out
