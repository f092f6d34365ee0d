"""Transfer the appearance of a recorded defect to the pixels of the given image."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.membrane import membrane

Mode = Literal["auto", "residual", "replace", "poisson"]
Real = NDArray[np.float32]

_SHOWS = 0.35  # correlation with the clean image above which the surface shows through the defect
_LARGE = 16.0  # depth in pixels from which Poisson blending is better for a defect without a clean image
_EDGE = 0.4  # share of the soft edge of the warped mask that becomes the edge of alpha
_SMOOTH = 10.0  # largest variation of the step along the seam, in grey levels, for Poisson blending


def choose_mode(target: Real, image: Real, clean: Real | None, alpha: Real, around: NDArray[np.bool_]) -> Mode:
    """Choose `residual` for defects that shade or stain the surface and `replace` for those that take its place.

    If the surface shows through (the defect image correlates with the clean one), the difference of the two is added
    to the new surface. Otherwise the defect brings its own texture. Without a clean image there is no difference:
    defects replace the surface, and large ones on smooth surroundings use `poisson`, which hides the seam there but
    would smear the edges of structured surroundings over the whole defect.

    Args:
        target: float32 [h, w, 3], 0..255, the window of the given image.
        image: float32 [h, w, 3], 0..255, the defect image warped into the window.
        clean: The clean image warped likewise, or None.
        alpha: float32 [h, w], 0..1.
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
    defect, surface = image[inside].mean(axis=1), clean[inside].mean(axis=1)
    if defect.std() < 1e-3 or surface.std() < 1e-3:
        return "residual"
    return "residual" if float(np.corrcoef(defect, surface)[0, 1]) > _SHOWS else "replace"


def transfer(
    target: Real,
    image: Real,
    clean: Real | None,
    alpha: Real,
    severity: float,
    mode: Mode,
    inside: Real | None = None,
) -> Real:
    """Put the defect into the target.

    Args:
        target: float32 [h, w, 3], 0..255, the window of the given image.
        image: float32 [h, w, 3], 0..255, the defect image warped into the window.
        clean: The clean image warped likewise, or None.
        alpha: float32 [h, w], 0..1, the feathered mask.
        severity: 0 leaves the target as it is, 1 gives the defect as recorded, above 1 exaggerates it.
        mode: The method; `auto` lets `choose_mode` decide.
        inside: float32 [h, w], 0..1, the object; None: everything. Colours are compared on the object only.

    Returns:
        float32 [h, w, 3], clipped to 0..255, equal to the target where alpha is 0.
    """
    around = _ring(alpha)
    if inside is not None:
        around &= inside > 0.5
    if mode == "auto":
        mode = choose_mode(target, image, clean, alpha, around)
    if mode == "residual" and clean is not None:
        gain = 1.0
        if around.any():  # a shadow changes a darker surface less
            gain = float(np.clip((target[around].mean() + 10) / (clean[around].mean() + 10), 0.5, 1.5))
        change = image - clean
        change *= np.float32(gain)
    elif mode == "poisson" and bool((alpha > 0.5).any()):
        change = poisson(target, image, alpha > 0.5) - target
    else:
        change = match_ring(target, image, around) - target
    change *= (np.float32(severity) * alpha)[..., None]  # in place: windows of real defects may hold a million values
    change += target
    return np.asarray(np.clip(change, 0, 255, out=change), np.float32)


def match_ring(target: Real, image: Real, around: NDArray[np.bool_]) -> Real:
    """Shift and scale the colours of `image` so that it looks like the target on the ring `around` [h, w]."""
    if int(around.sum()) < 12:
        return image
    here, there = target[around], image[around]
    gain = np.clip((here.std(axis=0) + 4) / (there.std(axis=0) + 4), 0.6, 1.6)
    # Only the root of the gain, about the mean of the ring, so that the defect keeps most of its contrast.
    root = np.sqrt(gain)
    offset = here.mean(axis=0) - there.mean(axis=0) * root
    # OpenCV is about twenty times as fast on three channels as broadcasting in NumPy.
    return np.asarray(cv2.transform(image, np.hstack([np.diag(root), offset[:, None]])), np.float32)


def poisson(target: Real, image: Real, inside: NDArray[np.bool_]) -> Real:
    """Poisson blending (Perez et al. 2003): gradients of the image inside, colours of the target on the outline.

    With the gradients of the image itself, the solution is the image plus a harmonic function that equals
    `target - image` on the outline. That function is smooth, so it is solved for on a small grid.

    Returns:
        float32 [h, w, 3], valid on the mask and its soft edge only.
    """
    correction = membrane(target - image, inside)
    correction += image
    return correction


def soft_edge(mask: Real, *, seam: bool) -> Real:
    """Turn a warped mask (float32 [h, w], 0..1) into alpha of the same extent, with an edge of at most one pixel.

    A defect without a clean image brings some of its own surroundings along. With `seam`, alpha therefore also rises
    over up to two pixels inside the mask, which hides the seam; thin cracks are left alone.
    """
    alpha = np.clip((mask - 0.5) / _EDGE + 0.5, 0, 1)
    if seam:
        within = mask > 0.5
        depth = cv2.distanceTransform(np.pad(within, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
        width = np.float32(np.clip(0.3 * depth.max(initial=0), 1.0, 2.0))
        rise = np.minimum(depth / width, 1)
        rise[~within] = 1 / width
        alpha *= rise
    return np.asarray(alpha, np.float32)


def _ring(alpha: Real) -> NDArray[np.bool_]:
    """Pixels at a distance of 2 to 5 from the defect; closer ones contain some of the colour of the defect."""
    touched = (alpha > 0.02).astype(np.uint8)
    near = cv2.dilate(touched, np.ones((3, 3), np.uint8))
    return np.asarray(cv2.dilate(near, np.ones((9, 9), np.uint8)) > near)
