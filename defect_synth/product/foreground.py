"""Where the object is in a normal image."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

_SIDE = 96  # the object is found on a small copy; its outline needs no more
_APART, _CERTAIN, _MARGIN = 12.0, 18.0, 4.0  # units of 8-bit Lab
_SMALLEST, _LARGEST = 0.04, 0.97  # shares of the image that can be an object on a background
_UNLIKE = 2.0  # times as far from the background as the background is from itself: less is the pattern of a texture


def foreground(image: Pixels) -> NDArray[np.bool_]:
    """The object on a uniform background, or everything where there is no such background (textures).

    The background is what looks like the image's border; the rest is split off by Otsu's threshold on the distance in
    Lab, closed, filled, and freed of small parts.

    Args:
        image: uint8 [H, W, 3], RGB.

    Returns:
        bool [H, W].
    """
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.float32)
    edge = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    background = np.median(edge, axis=0)
    if float(np.median(np.abs(edge - background).sum(axis=1))) > 24:
        return np.ones((height, width), bool)  # the border is no one thing, so there is no background to tell apart
    distance = _distance(lab, background)
    otsu = cv2.threshold(distance, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0]
    noise = float(np.percentile(np.linalg.norm(edge - background, axis=1), 90))
    if int(distance.max()) < noise + _APART:
        return np.ones((height, width), bool)
    # Otsu splits the lit from the shaded side of a dark object; what is unlike the border is object in any light.
    level = max(min(otsu, _CERTAIN), noise + _MARGIN)
    found = (distance > level).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
    found = _filled(_large_parts(found))
    share = float(found.mean())
    ring = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    if not _SMALLEST <= share <= _LARGEST or float(ring.mean()) > 0.7:
        return np.ones((height, width), bool)
    if float(np.median(distance[found > 0])) < _UNLIKE * noise:
        return np.ones((height, width), bool)
    return np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_NEAREST), bool)


class ForegroundCache:
    """`foreground` of the images seen last, found again by their content.

    Args:
        kept: How many are remembered; each takes at most 16 kB where the images given are small copies.
    """

    def __init__(self, kept: int = 256) -> None:
        self._kept = kept
        self._found: OrderedDict[bytes, NDArray[np.bool_]] = OrderedDict()

    def __call__(self, image: Pixels) -> NDArray[np.bool_]:
        """Bool [H, W] of a uint8 image [H, W, 3]; not to be written into."""
        key = hashlib.blake2b(image.tobytes() + repr(image.shape).encode(), digest_size=16).digest()
        if key in self._found:
            self._found.move_to_end(key)
        else:
            self._found[key] = foreground(image)
            if len(self._found) > self._kept:
                self._found.popitem(last=False)
        return self._found[key]


def _distance(lab: NDArray[np.float32], colour: NDArray[np.float32]) -> Pixels:
    """Euclidean distance of each pixel to `colour`, uint8; by planes, which is several times as fast as by pixels."""
    total = np.zeros(lab.shape[:2], np.float32)
    for plane, value in zip(cv2.split(lab), colour, strict=True):
        plane -= value
        plane *= plane
        total += plane
    return np.minimum(np.sqrt(total, out=total), 255, out=total).astype(np.uint8)


def _large_parts(found: Pixels) -> Pixels:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found, connectivity=4)
    if count < 2:
        return found
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.concatenate([[False], areas >= 0.2 * areas.max()]).astype(np.uint8)
    return np.asarray(kept[labels], np.uint8)


def _filled(found: Pixels) -> Pixels:
    """`found` without holes: what the border's background cannot reach."""
    padded = np.pad(1 - found, 1, constant_values=1)
    count, labels = cv2.connectedComponents(padded, connectivity=4)
    return (labels != labels[0, 0]).astype(np.uint8)[1:-1, 1:-1] if count > 1 else found
