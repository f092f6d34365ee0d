"""A part seen from its centre: what lies in each direction and at each distance, and by which turn two parts match.

Turning a part shifts its polar picture, so all turns are compared at once by a product of Fourier transforms.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.product.frame import ProductFrame
from defect_synth.samples import Pixels

Spectrum = NDArray[np.complex64]
"""Fourier transform over the angle of a polar picture with mean 0 in every ring: [channels, rings, frequencies]."""

ANGLES = 180
_RINGS = 36
_SIDE = 160  # longer side of the copy that is looked at, in pixels
_CHANNELS = 5  # outline, brightness, edges, two colours
_MIN_DEVIATION = 6.0  # 8-bit Lab: smaller differences within a part are noise
_RIM = 0.08  # radii: the rim is lit by where the light stands, not by how the part lies
_MOST = 2.5  # deviations: brighter or darker than this is glare or a hole
_FREQUENCIES = ANGLES // 2 + 1
SPECTRUM_SHAPE = (_CHANNELS, _RINGS, _FREQUENCIES)


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
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    size = max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))
    lab = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB).astype(np.float32)
    inside = cv2.resize(foreground.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    layers = [inside]
    planes = cv2.split(lab)
    rim = max(1, round(_RIM * frame.radius * size[0] / image.shape[1]))
    inside = cv2.erode(inside, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1)))
    total = max(float(inside.sum()), 1.0)
    for number, plane in enumerate(planes):
        mean = float((plane * inside).sum()) / total
        deviation = float(np.sqrt((np.square(plane - mean) * inside).sum() / total))
        layers.append(np.clip((plane - mean) / max(deviation, _MIN_DEVIATION), -_MOST, _MOST) * inside)
        if number == 0:
            dx, dy = cv2.Sobel(plane, cv2.CV_32F, 1, 0), cv2.Sobel(plane, cv2.CV_32F, 0, 1)
            edges = cv2.magnitude(dx, dy)
            edges *= inside
            layers.append(np.clip(edges / max(float(edges.max()) / 2, 4 * _MIN_DEVIATION), 0, 1))
    ys, xs = _grid(frame, reach, size[1] / image.shape[0], size[0] / image.shape[1])
    rings = np.stack([cv2.remap(layer, xs, ys, cv2.INTER_LINEAR) for layer in layers])
    rings *= np.sqrt(np.arange(1, _RINGS + 1, dtype=np.float32))[None, :, None]  # outer rings have more pixels
    found = np.fft.rfft(rings, axis=2).astype(np.complex64)
    found[:, :, 0] = 0
    return normalised(found)


def normalised(found: Spectrum) -> Spectrum:
    """A spectrum scaled to norm 1, unless it is empty."""
    norm = float(np.sqrt(_energy(found)))
    out: Spectrum = found / norm if norm > 1e-6 else found
    return out


def match(found: Spectrum, template: Spectrum) -> Match:
    """The correlation of a part with a template after each turn, not mirrored and mirrored."""
    straight = (found * template.conj()).sum(axis=(0, 1))
    mirrored = (found.conj() * template.conj()).sum(axis=(0, 1))
    scores = np.fft.irfft(np.stack([straight, mirrored]), n=ANGLES, axis=1) * ANGLES
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


def _grid(frame: ProductFrame, reach: float, sy: float, sx: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each point of the polar picture lies in the small copy: y and x, [rings, angles]."""
    distance = (np.arange(_RINGS, dtype=np.float32)[:, None] + 0.5) / _RINGS * reach * frame.radius
    angle = np.arange(ANGLES, dtype=np.float32)[None] * (2 * np.pi / ANGLES)
    ys = (frame.y + distance * np.cos(angle) + 0.5) * sy - 0.5
    xs = (frame.x + distance * np.sin(angle) + 0.5) * sx - 0.5
    return ys.astype(np.float32), xs.astype(np.float32)
