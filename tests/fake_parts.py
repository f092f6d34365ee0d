"""Procedural parts that lie at any angle, whose true pose is known: a screw, a bracket, a gear and a printed label.

A part is drawn in its own coordinates, u along its axis and v across, in units of its length (-0.5 to 0.5), under a
light that does not turn with it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DrawnPart:
    """A picture of a part.

    Attributes:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W], 1 on the defect.
        centre: (y, x) of the origin of its coordinates, in pixels.
        angle: Direction of u in the image, radians: u grows towards (y, x) = (sin, cos).
        flip: Whether it lies on its other side.
        length: Pixels of one unit.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    centre: tuple[float, float]
    angle: float
    flip: bool
    length: float

    def coordinates(self, y: float, x: float) -> tuple[float, float]:
        """(u, v) of a pixel."""
        u, v = _coordinates(np.array([[y]]), np.array([[x]]), self.centre, self.angle, self.flip, self.length)
        return float(u[0, 0]), float(v[0, 0])


def _coordinates(
    ys: Floats, xs: Floats, centre: tuple[float, float], angle: float, flip: bool, length: float
) -> tuple[Floats, Floats]:
    dy, dx = (ys - centre[0]) / length, (xs - centre[1]) / length
    u, v = dx * np.cos(angle) + dy * np.sin(angle), -dx * np.sin(angle) + dy * np.cos(angle)
    return u, -v if flip else v


# Each drawer takes (u, v) and returns height (0 off the part) and brightness of the surface.


def screw(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """The tip at u = -0.5, a thread up to 0.05, a neck, and a head with a flat end at 0.4 to 0.5."""
    thread = 0.055 + 0.012 * np.abs(((u * 26 + v * 2.5) % 1) * 2 - 1)
    width = np.where(u < 0.05, thread, 0.045)
    width = np.where(u < -0.42, np.minimum(width, (u + 0.5) * 0.8), width)
    width = np.where(u > 0.3, 0.045 + (np.minimum(u, 0.4) - 0.3) * 0.9, width)
    inside = (np.abs(v) < width) & (u > -0.5) & (u < 0.45)
    height = np.where(inside, np.sqrt(np.maximum(0, 1 - (v / np.maximum(width, 1e-6)) ** 2)), 0)
    brightness = np.where(u < 0.05, 0.6 + 0.25 * np.sin((u * 26 + v * 2.5) * 2 * np.pi), 0.8)
    return height, brightness


def bracket(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """An L with two holes; its mirror image is another part."""
    body = ((np.abs(u) < 0.5) & (v > -0.3) & (v < -0.1)) | ((u > -0.5) & (u < -0.25) & (v > -0.3) & (v < 0.35))
    hole = (np.hypot(u - 0.3, v + 0.2) < 0.05) | (np.hypot(u + 0.37, v - 0.2) < 0.05)
    return np.where(body & ~hole, 1.0, 0.0), np.full(u.shape, 0.7)


def gear(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Twelve teeth and a bore: it looks alike after a turn of 30 degrees."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    outline = 0.42 + 0.05 * np.tanh(4 * np.cos(12 * angle))
    return np.where((radius < outline) & (radius > 0.12), 1.0, 0.0), 0.65 + 0.2 * np.cos(radius * 40)


def label(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """A symmetrical plate with a small imprint, which must not be mirrored."""
    plate = (np.abs(u) < 0.5) & (np.abs(v) < 0.25)
    letters = np.zeros((100, 400), np.uint8)
    cv2.putText(letters, "R 4 F", (20, 80), cv2.FONT_HERSHEY_SIMPLEX, 2.4, 255, 9)
    column, row = (u + 0.25) / 0.5 * 400, (v + 0.0625) / 0.125 * 100
    printed = cv2.remap(letters, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR) / 255.0
    return np.where(plate, 1.0, 0.0), 0.85 - 0.6 * printed


PARTS: dict[str, Callable[[Floats, Floats], tuple[Floats, Floats]]] = {
    "screw": screw, "bracket": bracket, "gear": gear, "label": label,
}  # fmt: skip

PLACES = {  # of the defects of a screw: (u, v, half length, half width) and the spread of u
    "bent_tip": (-0.47, 0.02, 0.035, 0.03, 0.006),
    "scratch_head": (0.38, 0.02, 0.045, 0.008, 0.012),
    "scratch_neck": (0.18, 0.0, 0.05, 0.008, 0.03),
    "thread_side": (-0.16, 0.055, 0.025, 0.018, 0.08),
    "thread_top": (-0.16, 0.0, 0.025, 0.018, 0.09),
}


def draw(
    part: str, seed: int, *, side: int = 192, defect: str | None = None, length: float = 0.72,
    angle: float | None = None, offset: float = 0.06, flip: bool = False,
) -> DrawnPart:  # fmt: skip
    """Draw one picture.

    Args:
        part: One of `PARTS`.
        seed: Of pose, light, noise and the defect.
        side: Of the image, in pixels.
        defect: One of `PLACES` (of a screw); None: a normal part.
        length: Of the part, in sides of the image.
        angle: In radians; None: any.
        offset: Standard deviation of the position, in sides.
        flip: Whether the part lies on its other side.
    """
    rng = np.random.default_rng((seed, zlib.crc32(f"{part} {defect}".encode())))
    turned = float(rng.uniform(0, 2 * np.pi)) if angle is None else angle
    centre = (side / 2 + offset * side * rng.normal(), side / 2 + offset * side * rng.normal())
    unit = length * side * float(np.exp(rng.normal(0, 0.01)))
    ys, xs = np.mgrid[0 : 2 * side, 0 : 2 * side] / 2 - 0.25
    u, v = _coordinates(ys, xs, centre, turned, flip, unit)
    mark = np.zeros(u.shape, bool)
    if defect is not None:
        at, across, half, wide, spread = PLACES[defect]
        at += spread * float(np.clip(rng.normal(), -1.6, 1.6))
        across *= float(rng.choice([-1, 1]))
        if defect == "bent_tip":
            v = v - np.where(u < -0.4, np.sign(across) * (u + 0.4) ** 2 * 4, 0)
        mark = (((u - at) / half) ** 2 + ((v - across) / wide) ** 2) < 1
    height, brightness = PARTS[part](u, v)
    gy, gx = np.gradient(cv2.GaussianBlur(height, (0, 0), 2))
    shaded = brightness * (0.75 + 3.0 * (0.6 * gx + 0.8 * gy)) * float(rng.uniform(0.85, 1.1))
    shaded = np.where(height > 0, shaded, 0.25 * float(rng.uniform(0.9, 1.1)))
    if defect is not None and defect != "bent_tip":
        shaded = np.where(mark & (height > 0), shaded * 0.45 + 0.05 * rng.normal(size=u.shape), shaded)
    grey = cv2.resize(np.clip(shaded, 0, 1), (side, side), interpolation=cv2.INTER_AREA) * 255
    image = np.clip(grey[..., None] * (1.0, 0.98, 0.94) + rng.normal(0, 3, (side, side, 3)), 0, 255).astype(np.uint8)
    mask = (cv2.resize(mark.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    return DrawnPart(image, mask, centre, turned, flip, unit)
