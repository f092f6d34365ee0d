"""Bring a recorded defect's look into the pixels of the given image."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

Mode = Literal["auto", "residual", "replace", "poisson"]
Real = NDArray[np.float32]

_SHOWS = 0.35  # correlation with the clean pair from which the surface still shows through a defect
_LARGE = 16.0  # pixels of depth from which gradients carry a defect without a pair better than its colours do

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
        deep = float(cv2.distanceTransform(np.pad(inside, 1).astype(np.uint8), cv2.DIST_L2, 3).max())
        if deep < _LARGE or int(around.sum()) < 12:
            return "replace"
        seam = (target[around] - image[around]).mean(axis=1)
        return "poisson" if float(seam.std()) < _SMOOTH else "replace"
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
        change = gain * (image - clean)
    elif mode == "poisson" and bool((alpha > 0.5).any()):
        change = poisson(target, image, alpha > 0.5) - target
    else:
        change = match_ring(target, image, around) - target
    return np.clip(target + severity * alpha[..., None] * change, 0, 255).astype(np.float32)


def match_ring(target: Real, image: Real, around: NDArray[np.bool_]) -> Real:
    """`image` with its colours moved so that around the defect, on `around` [h, w], it looks like the target."""
    if int(around.sum()) < 12:
        return image
    here, there = target[around], image[around]
    gain = np.clip((here.std(axis=0) + 4) / (there.std(axis=0) + 4), 0.6, 1.6)
    # About the ring's own colour, and by the root: the defect keeps most of its contrast to it.
    return np.asarray((image - there.mean(axis=0)) * np.sqrt(gain) + here.mean(axis=0), np.float32)


def poisson(target: Real, image: Real, inside: NDArray[np.bool_]) -> Real:
    """The image's gradients inside the mask, the target's colours on its outline (Perez et al. 2003)."""
    padded = cv2.copyMakeBorder(np.round(target).astype(np.uint8), 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    source = cv2.copyMakeBorder(np.clip(np.round(image), 0, 255).astype(np.uint8), 2, 2, 2, 2, cv2.BORDER_REPLICATE)
    mask: Pixels = np.pad(inside.astype(np.uint8) * 255, 2)
    x, y, width, height = cv2.boundingRect(mask)
    cloned = cv2.seamlessClone(source, padded, mask, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return np.asarray(cloned[2:-2, 2:-2], np.float32)


def feathered(mask: Real) -> Real:
    """A warped mask, 0..1 -> alpha: full on the defect, falling off over a pixel or two outside it.

    The fall-off grows with the defect, so a crack of one pixel keeps its contrast and a stain has no edge.
    """
    wide = float(cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3).max(initial=0))
    sigma = float(np.clip(0.15 * wide, 0.6, 3.0))
    grown = cv2.dilate(mask, np.ones((3, 3), np.uint8))
    return np.asarray(np.maximum(cv2.GaussianBlur(grown, (0, 0), sigma) * (grown > 0), np.minimum(mask, 1)), np.float32)


def _ring(alpha: Real) -> NDArray[np.bool_]:
    touched = (alpha > 0.02).astype(np.uint8)
    return np.asarray(cv2.dilate(touched, np.ones((9, 9), np.uint8)) > touched)
