"""A part seen from its centre: what lies in each direction and at each distance, and by which turn two parts match.

Turning a part shifts its polar picture, so all turns are compared at once by a product of Fourier transforms.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from defect_synth.product.frame import ProductFrame
from defect_synth.samples import Pixels

Spectrum = NDArray[np.complex64]
"""Fourier transform over the angle of a polar picture with mean 0 in every ring: [channels, rings, frequencies]."""

ANGLES = 120
_RINGS = 28
_SIDE = 112  # longer side of the small copy of the part that is looked at, in pixels
_BORDER = 2  # pixels around it
_CHANNELS = 5  # outline, brightness, edges, two colours
_MIN_DEVIATION = 6.0  # 8-bit Lab: smaller differences within a part are noise
_RIM = 0.08  # radii: the rim is lit by where the light stands, not by how the part lies
_MOST = 2.5  # deviations: brighter or darker than this is glare or a hole
_FREQUENCIES = ANGLES // 2 + 1
SPECTRUM_SHAPE = (_CHANNELS, _RINGS, _FREQUENCIES)
_DISTANCES = ((np.arange(_RINGS, dtype=np.float32) + 0.5) / _RINGS)[:, None]
_COS, _SIN = (f(np.arange(ANGLES) * (2 * np.pi / ANGLES)).astype(np.float32)[None] for f in (np.cos, np.sin))
_RING_WEIGHTS = np.sqrt(np.arange(1, _RINGS + 1, dtype=np.float32))[None, :, None]  # outer rings have more pixels


class Match(NamedTuple):
    """How well two parts match after each turn: float [2, ANGLES], -1 to 1, not mirrored and mirrored."""

    scores: NDArray[np.float32]

    def best(self, *, mirrored: bool) -> tuple[float, bool, float]:
        """Angle in radians, whether mirrored, and score of the best turn, between the sampled ones."""
        rows = self.scores if mirrored else self.scores[:1]
        row, k = divmod(int(rows.argmax()), ANGLES)
        left, middle, right = (float(rows[row, (k + step) % ANGLES]) for step in (-1, 0, 1))
        bend = left - 2 * middle + right
        shift = 0.0 if bend >= 0 else 0.5 * (left - right) / bend
        angle = 2 * np.pi * (k + shift) / ANGLES
        return (-angle if row else angle) % (2 * np.pi), bool(row), middle - 0.25 * (left - right) * shift


def spectrum(image: Pixels, foreground: NDArray[np.bool_], frame: ProductFrame, reach: float) -> Spectrum:
    """The polar spectrum of a part, with norm 1 (0 for a part without any feature).

    Args:
        image: uint8 [H, W, 3].
        foreground: bool [H, W], the part.
        frame: Its centre and radius.
        reach: Distance of the outermost ring from the centre, in radii.
    """
    part, inside, corner, scale = _small_part(image, foreground)
    layers = [inside]
    rim = max(1, round(_RIM * frame.radius * scale))
    inside = cv2.erode(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1)))
    total = max(float(inside.sum()), 1.0)
    for number, plane in enumerate(cv2.split(cv2.cvtColor(part, cv2.COLOR_RGB2LAB))):
        values = plane.astype(np.float32)
        if number == 0:
            edges = cv2.magnitude(cv2.Sobel(values, cv2.CV_32F, 1, 0), cv2.Sobel(values, cv2.CV_32F, 0, 1))
            edges *= inside
            layers.append(np.minimum(edges / max(float(edges.max()) / 2, 4 * _MIN_DEVIATION), 1))
        values -= float((values * inside).sum()) / total
        deviation = float(np.sqrt((np.square(values) * inside).sum() / total))
        values /= max(deviation, _MIN_DEVIATION)
        layers.append(np.clip(values, -_MOST, _MOST) * inside)
    ys, xs = _grid(frame, reach, scale, corner)
    rings = np.stack([cv2.remap(layer, xs, ys, cv2.INTER_LINEAR) for layer in layers])
    rings *= _RING_WEIGHTS
    found = fft.rfft(rings, axis=2)
    found[:, :, 0] = 0
    found[1:3, :, 1:3] = 0  # edges and brightness: how the light falls on a round part
    return normalised(found)


def _small_part(
    image: Pixels, foreground: NDArray[np.bool_]
) -> tuple[Pixels, NDArray[np.float32], tuple[int, int], float]:
    """A small copy of the part alone, its foreground, the corner (y, x) that it was cut at, and the scale."""
    x, y, width, height = cv2.boundingRect(foreground.view(np.uint8))
    x0, y0 = max(0, x - _BORDER), max(0, y - _BORDER)
    box = np.s_[y0 : y + height + _BORDER, x0 : x + width + _BORDER]
    part, inside = image[box], foreground[box].astype(np.float32)
    scale = min(1.0, _SIDE / max(part.shape[:2]))
    if scale < 1:
        size = max(8, round(part.shape[1] * scale)), max(8, round(part.shape[0] * scale))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(part), inside, (y0, x0), scale


def normalised(found: Spectrum) -> Spectrum:
    """A spectrum scaled to norm 1, unless it is empty."""
    norm = float(np.sqrt(_energy(found)))
    out: Spectrum = found / norm if norm > 1e-6 else found
    return out


def match(found: Spectrum, template: Spectrum) -> Match:
    """The correlation of a part with a template after each turn, not mirrored and mirrored."""
    straight = (found * template.conj()).sum(axis=(0, 1))
    mirrored = (found.conj() * template.conj()).sum(axis=(0, 1))
    scores = fft.irfft(np.stack([straight, mirrored]), n=ANGLES, axis=1) * ANGLES
    return Match(scores.astype(np.float32))


def turned_back(found: Spectrum, angle: float, flip: bool) -> Spectrum:
    """The spectrum that a part would have if it were not turned by `angle`, and not mirrored if `flip`."""
    if flip:
        found, angle = found.conj(), -angle
    out: Spectrum = (found * np.exp(1j * angle * np.arange(_FREQUENCIES))).astype(np.complex64)
    return out


def _energy(found: Spectrum) -> float:
    """Sum of squares over the angles, by Parseval's theorem for a real signal, up to a constant."""
    weights = np.full(_FREQUENCIES, 2.0)
    weights[[0, -1]] = 1.0
    return float((np.square(np.abs(found)).sum(axis=(0, 1)) * weights).sum())


def _grid(
    frame: ProductFrame, reach: float, scale: float, corner: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each point of the polar picture lies in the small copy: y and x, [rings, angles]."""
    distance = _DISTANCES * np.float32(reach * frame.radius * scale)
    ys = (frame.y - corner[0] + 0.5) * scale - 0.5 + distance * _COS
    xs = (frame.x - corner[1] + 0.5) * scale - 0.5 + distance * _SIN
    return ys.astype(np.float32), xs.astype(np.float32)
