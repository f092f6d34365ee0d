"""Colours and band-limited noise for drawing.

Colours are RGB in 0..1 as a display shows them. An octave of noise that is too fine for an image is faded out, against
aliasing, so that images of two sizes differ in detail only.
"""

from __future__ import annotations

import cv2
import numpy as np

from defect_synth.demo.nut import Floats

_TEXELS = 8  # per cell of a coarse noise lattice: `cv2.remap` rounds positions to 1/32 texel, which would show as steps


def smoothstep(low: float, high: float, x: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def blend(below: Floats, above: Floats, opacity: Floats) -> Floats:
    """`above` over `below`, both [3, H, W] or a `colour`; `opacity` is [H, W]."""
    return below + (above - below) * opacity


def colour(red: float, green: float, blue: float, light: float = 1) -> Floats:
    """[3, 1, 1], planes first because NumPy works on whole planes much faster than on triples."""
    return np.array([red, green, blue], np.float32)[:, None, None] * np.float32(light)


def lattice(rng: np.random.Generator, rows: int, columns: int) -> Floats:
    """Smooth noise of mean 0 and deviation about 1 with `rows` x `columns` cells, periodic along both axes."""
    cells = rng.standard_normal((rows, columns), np.float32) * np.float32(1.25)  # smoothing takes a fifth away
    grow = min(_TEXELS, max(1, 320 // max(rows, columns)))
    if grow == 1:
        return cells
    cells = cv2.copyMakeBorder(cells, 2, 2, 2, 2, cv2.BORDER_WRAP)
    size = (cells.shape[1] * grow, cells.shape[0] * grow)
    smooth = cv2.resize(cells, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth[2 * grow : -2 * grow, 2 * grow : -2 * grow], np.float32)


def sample(noise: Floats, x: Floats, y: Floats) -> Floats:
    """`noise` at coordinates that have period 1."""
    height, width = noise.shape
    x, y = x * np.float32(width), y * np.float32(height)
    return np.asarray(cv2.remap(noise, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP))


def visible(cells_per_side: float, resolution: int) -> float:
    """Weight of noise with this many cells along the image: 1 where pixels resolve it, 0 where samples would alias."""
    return float(np.clip(2 - cells_per_side / resolution, 0, 1))
