"""Grey bolts that lie at any angle, and bolts with a scratch on a given part; equal seeds give equal pixels."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

BOLT_SIDE = 128
BOLT_HEAD, BOLT_SHANK = 60, 150  # grey levels

Pixels = NDArray[np.uint8]
Region = NDArray[np.bool_]


def bolt(seed: int) -> tuple[Pixels, Region, Region, Region]:
    """A rod, one half dark and one half bright, at a random angle: image, foreground, head and shank."""
    rng = np.random.default_rng(seed)
    shape = (BOLT_SIDE, BOLT_SIDE)
    head, shank = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    cv2.rectangle(head, (14, 46), (63, 82), 1, -1)
    cv2.rectangle(shank, (64, 46), (114, 82), 1, -1)
    turn = cv2.getRotationMatrix2D((63.5, 63.5), float(rng.uniform(0, 360)), 1.0)
    head, shank = (cv2.warpAffine(part, turn, shape, flags=cv2.INTER_NEAREST) for part in (head, shank))
    grey = np.full(shape, 230.0)
    grey[head > 0], grey[shank > 0] = BOLT_HEAD, BOLT_SHANK
    image = (grey + rng.normal(0, 2, shape)).clip(0, 255).astype(np.uint8)
    return np.repeat(image[:, :, None], 3, axis=2), (head | shank) > 0, head > 0, shank > 0


def scratched_bolt(seed: int, part: Literal["head", "shank"]) -> tuple[Pixels, Pixels]:
    """A bolt with a bright spot on a part: image and mask of 0 and 1."""
    image, _, head, shank = bolt(seed)
    where = head if part == "head" else shank
    depth = cv2.distanceTransform(where.astype(np.uint8), cv2.DIST_L2, 5)
    places = np.argwhere(depth > 9)
    y, x = places[np.random.default_rng(seed + 1).integers(len(places))]
    mask = np.zeros((BOLT_SIDE, BOLT_SIDE), np.uint8)
    cv2.ellipse(mask, (int(x), int(y)), (5, 3), 30 * seed, 0, 360, 1, -1)
    return np.where(mask[:, :, None] > 0, np.uint8(250), image), mask
