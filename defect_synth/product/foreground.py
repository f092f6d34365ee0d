"""The foreground of a normal image: the pixels of the product."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_SIDE = 96  # longer side of the copy on which the product is found, in pixels
_MAX_BORDER_DEVIATION = 24  # sum over Lab: beyond it the border of the image is not one background
_MIN_CONTRAST, _CERTAIN, _MARGIN = 12.0, 18.0, 4.0  # units of 8-bit Lab
_MIN_SHARE, _MAX_SHARE = 0.04, 0.97  # of the image that a product on a background can cover
_MAX_BORDER_SHARE = 0.7  # of the border of the image that a product on a background can cover
_MIN_DISTINCTION = 2.0  # median distance of the product from the background over the noise of the background
_MIN_COMPONENT = 0.2  # area of a component over that of the largest one


def find_foreground(image: Pixels) -> NDArray[np.bool_]:
    """Find the product on a uniform background; all pixels are foreground if there is none, as on textures.

    The background is what looks like the border of the image. The rest is separated by Otsu's threshold on the distance
    to the background in Lab, closed, filled and freed of small components.

    Args:
        image: uint8 [H, W, 3], RGB.

    Returns:
        bool [H, W].
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.float32)
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    background = np.median(border, axis=0)
    if float(np.median(np.abs(border - background).sum(axis=1))) > _MAX_BORDER_DEVIATION:
        return np.ones((height, width), bool)
    distance = _colour_distance(lab, background)
    otsu = cv2.threshold(distance, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]
    noise = float(np.percentile(np.linalg.norm(border - background, axis=1), 90))
    if int(distance.max()) < noise + _MIN_CONTRAST:
        return np.ones((height, width), bool)
    # Otsu alone may separate the lit from the shaded side of a dark product; what is certainly unlike the background
    # is foreground in any light.
    threshold = max(min(otsu, _CERTAIN), noise + _MARGIN)
    found = (distance > threshold).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    found = _fill_holes(_large_components(found))
    share = float(found.mean())
    border_share = float(np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]]).mean())
    if not _MIN_SHARE <= share <= _MAX_SHARE or border_share > _MAX_BORDER_SHARE:
        return np.ones((height, width), bool)
    if float(np.median(distance[found > 0])) < _MIN_DISTINCTION * noise:  # the pattern of a texture
        return np.ones((height, width), bool)
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST), bool)


def _colour_distance(lab: NDArray[np.float32], colour: NDArray[np.float32]) -> Pixels:
    """Euclidean distance of each pixel to `colour`, uint8 [H, W]; plane by plane, which is several times faster."""
    total = np.zeros(lab.shape[:2], np.float32)
    for plane, value in zip(cv2.split(lab), colour, strict=True):
        plane -= value
        plane *= plane
        total += plane
    return np.minimum(np.sqrt(total, out=total), 255, out=total).astype(np.uint8)


def _large_components(found: Pixels) -> Pixels:
    """The connected components of at least a fifth of the area of the largest one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=4)
    if count < 2:
        return found
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = np.concatenate([[False], areas >= _MIN_COMPONENT * areas.max()]).astype(np.uint8)
    return np.asarray(large[labels], np.uint8)


def _fill_holes(found: Pixels) -> Pixels:
    """`found` and everything that cannot be reached from the border of the image without crossing it."""
    padded = np.pad(1 - found, 1, constant_values=1)
    count, labels = cv2.connectedComponents(padded, connectivity=4)
    return (labels != labels[0, 0]).astype(np.uint8)[1:-1, 1:-1] if count > 1 else found
