"""Bring a recorded defect's look into the pixels of the given image."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.membrane import membrane

Mode = Literal["auto", "residual", "replace", "poisson"]
Real = NDArray[np.float32]

_SHOWS = 0.35  # correlation with the clean pair from which the surface still shows through a defect
_LARGE = 16.0  # pixels of depth from which gradients carry a defect without a pair better than its colours do

_EDGE = 0.4  # of the mask's own soft edge is the edge of what is pasted
_SMOOTH = 10.0  # grey levels by which a seam's step may vary along it for gradients to carry it inwards


def choose_mode(target: Real, image: Real, clean: Real | None, alpha: Real, around: NDArray[np.bool_]) -> Mode:
    """`residual` for what shades or stains the surface, `replace` for what takes its place.

    Where the surface shows through (the defect image still follows the clean one), the difference is added to the new
    surface. Where it does not, the defect brings its own texture. Without a pair there is no difference: defects
    replace, and large ones on smooth surroundings are blended by their gradients, which hides a seam there but would
    smear the edges of structured surroundings all over the defect.

    Args:
        target: [h, w, 3], 0..255.
        image: [h, w, 3], the defect image warped there.
        clean: Its clean pair, or None.
        alpha: [h, w], 0..1.
        around: bool [h, w], the ring around the defect.
    """
    inside = alpha > 0.5
    if clean is None:
        if int(around.sum()) < 12 or float((target[around] - image[around]).mean(axis=1).std()) >= _SMOOTH:
            return "replace"
        deep = float(cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 3).max())
        return "poisson" if deep >= _LARGE else "replace"
    if int(inside.sum()) < 64:
        return "residual"
    seen, under = image[inside].mean(axis=1), clean[inside].mean(axis=1)
    if seen.std() < 1e-3 or under.std() < 1e-3:
        return "residual"
    return "residual" if float(np.corrcoef(seen, under)[0, 1]) > _SHOWS else "replace"


def transfer(
    target: Real,
    image: Real,
    clean: Real | None,
    alpha: Real,
    severity: float,
    mode: Mode,
    inside: Real | None = None,
) -> Real:
    """The target with the defect in it.

    Args:
        target: [h, w, 3], 0..255, the surroundings of the place.
        image: [h, w, 3], the defect image warped there.
        clean: Its clean pair, warped alike, or None.
        alpha: [h, w], 0..1, feathered mask.
        severity: 0 leaves the target as it is, 1 is the defect as recorded, above 1 exaggerates it.
        mode: How; `auto` chooses by content.
        inside: [h, w], 0..1, the object; None: everything. Colours are compared on it only, not on its background.

    Returns:
        [h, w, 3], 0..255, clipped; equal to the target where alpha is 0.
    """
    around = _ring(alpha)
    if inside is not None:
        around &= inside > 0.5
    if mode == "auto":
        mode = choose_mode(target, image, clean, alpha, around)
    if mode == "residual" and clean is not None:
        gain = 1.0
        if around.any():  # a shadow on a darker surface takes away less
            gain = float(np.clip((target[around].mean() + 10) / (clean[around].mean() + 10), 0.5, 1.5))
        change = image - clean
        change *= np.float32(gain)
    elif mode == "poisson" and bool((alpha > 0.5).any()):
        change = poisson(target, image, alpha > 0.5) - target
    else:
        change = match_ring(target, image, around) - target
    change *= (np.float32(severity) * alpha)[..., None]  # in place: windows of real defects have a million values
    change += target
    return np.asarray(np.clip(change, 0, 255, out=change), np.float32)


def match_ring(target: Real, image: Real, around: NDArray[np.bool_]) -> Real:
    """`image` with its colours moved so that around the defect, on `around` [h, w], it looks like the target."""
    if int(around.sum()) < 12:
        return image
    here, there = target[around], image[around]
    gain = np.clip((here.std(axis=0) + 4) / (there.std(axis=0) + 4), 0.6, 1.6)
    # About the ring's own colour, and by the root: the defect keeps most of its contrast to it.
    root = np.sqrt(gain)
    moved = here.mean(axis=0) - there.mean(axis=0) * root
    # OpenCV goes over three channels twenty times as fast as NumPy's broadcasting does.
    return np.asarray(cv2.transform(image, np.hstack([np.diag(root), moved[:, None]])), np.float32)


def poisson(target: Real, image: Real, inside: NDArray[np.bool_]) -> Real:
    """The image's gradients inside the mask, the target's colours on its outline (Perez et al. 2003).

    Their equation with the image's own gradients says: the image plus the smoothest sheet that is `target - image` on
    the outline. So only that sheet is solved for, and being smooth it is solved for on a small grid.

    Returns:
        [h, w, 3], meant for the mask and its soft edge; beyond, it is nothing.
    """
    sheet = membrane(target - image, inside)
    sheet += image
    return sheet


def soft_edge(mask: Real, *, seam: bool) -> Real:
    """A warped mask, 0..1 -> alpha of the same extent: what is meant to change changes, and nothing beside it.

    The edge is a pixel wide at most, however much the mask was enlarged. A defect without a clean pair brings its own
    surroundings along, whose seam has to be hidden (`seam`): there alpha also rises over up to two pixels inside the
    mask, none in cracks.
    """
    alpha = np.clip((mask - 0.5) / _EDGE + 0.5, 0, 1)
    if seam:
        within = mask > 0.5
        depth = cv2.distanceTransform(np.pad(within, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        wide = np.float32(np.clip(0.3 * depth.max(initial=0), 1.0, 2.0))
        rise = np.minimum(depth / wide, 1)
        rise[~within] = 1 / wide
        alpha *= rise
    return np.asarray(alpha, np.float32)


def _ring(alpha: Real) -> NDArray[np.bool_]:
    """Pixels 2 to 5 away from the defect: those at it hold some of its own colour, and would make its contrast less."""
    touched = (alpha > 0.02).astype(np.uint8)
    near = cv2.dilate(touched, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.dilate(near, np.ones((9, 9), np.uint8)) > near)
