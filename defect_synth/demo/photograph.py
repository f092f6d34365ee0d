"""Light, background and camera: from the surface of the procedural hazelnut to an image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from defect_synth.demo.noise import colour
from defect_synth.demo.nut import SUPERSAMPLING, Floats, Nut, View
from defect_synth.demo.shell import Surface


@dataclass(frozen=True)
class Light:
    """One soft lamp above the camera.

    Attributes:
        direction: Unit vector towards it: x right, y down, z to the camera.
        ambient: Light from everywhere else.
        diffuse: Light of the lamp.
        sharpness: Exponent of the highlight.
    """

    direction: tuple[float, float, float]
    ambient: float
    diffuse: float
    sharpness: float


def draw_light(rng: np.random.Generator) -> Light:
    """A lamp that comes from the upper left more often than not."""
    azimuth = -1.9 + rng.normal(0, 0.5)
    tilt = float(np.clip(rng.normal(0.5, 0.12), 0.2, 0.85))
    return Light(
        direction=(float(np.sin(tilt) * np.cos(azimuth)), float(np.sin(tilt) * np.sin(azimuth)), float(np.cos(tilt))),
        ambient=rng.uniform(0.3, 0.4),
        diffuse=rng.uniform(0.72, 0.86),
        sharpness=rng.uniform(7, 16),
    )


def illuminate(surface: Surface, light: Light, seen: View) -> Floats:
    """Colours of the samples, [3, H, W]: diffuse light, a soft highlight and less light near the ground."""
    normal = seen.normal
    # The slope is measured along the image, so near the outline it grows without bound and is held back.
    per_side = np.float32(seen.samples / 8)
    held = np.maximum(normal[2], 0)
    slope_x = cv2.Sobel(surface.relief, cv2.CV_32F, 1, 0, ksize=3) * per_side * held
    slope_y = cv2.Sobel(surface.relief, cv2.CV_32F, 0, 1, ksize=3) * per_side * held
    nx, ny, nz = normal[0] - slope_x, normal[1] - slope_y, normal[2]
    inverse = 1 / np.sqrt(nx * nx + ny * ny + nz * nz)
    lx, ly, lz = (np.float32(v) for v in light.direction)
    facing = (nx * lx + ny * ly + nz * lz) * inverse
    half = np.array([lx, ly, lz + 1], np.float32) / np.sqrt(2 + 2 * lz)
    mirror = (nx * half[0] + ny * half[1] + nz * half[2]) * inverse
    diffuse = np.maximum((facing + 0.25) / 1.25, 0) * light.diffuse
    ambient = light.ambient * (0.45 + 0.55 * np.maximum(nz * inverse, 0))
    highlight = np.maximum(mirror, 0) ** np.float32(light.sharpness) * surface.gloss * 0.42
    lit = surface.albedo * ((diffuse + ambient) * surface.exposure)
    return np.asarray(lit + colour(1.0, 0.95, 0.92) * (highlight * surface.exposure))


def background(rng: np.random.Generator, nut: Nut, light: Light, resolution: int) -> Floats:
    """[R, R, 3]: dark cloth, a little uneven, with specks of dust and the nut's soft shadow."""
    level = rng.uniform(0.9, 1.1)
    tilt = rng.normal(0, 0.03, 2).astype(np.float32)
    cells = rng.standard_normal((5, 5), np.float32)
    weave = rng.standard_normal((2, 96), np.float32)
    side = np.linspace(-0.5, 0.5, resolution, dtype=np.float32)
    uneven = cv2.resize(cells, (resolution, resolution), interpolation=cv2.INTER_CUBIC)
    threads = [cv2.resize(row[None], (resolution, 1), interpolation=cv2.INTER_AREA)[0] for row in weave]
    tone = (
        1 + 0.03 * uneven + 2 * (tilt[0] * side + tilt[1] * side[:, None]) + 0.005 * (threads[0] + threads[1][:, None])
    )

    # The shadow: distance from the outline, moved away from the lamp; smooth, so a coarse grid is enough.
    coarse = (np.arange(64, dtype=np.float32) + 0.5) / 64
    shadow = np.zeros((64, 64), np.float32)
    for lift, width, strength in ((0.006, 0.012, 0.3), (0.03, 0.04, 0.42)):
        x, y = np.meshgrid(
            coarse - np.float32(nut.centre[0] - lift * light.direction[0] * 2),
            coarse - np.float32(nut.centre[1] - lift * light.direction[1] * 2),
        )
        distance, angle = cv2.cartToPolar(x, y)
        turns = np.linspace(0, 2 * np.pi, len(nut.silhouette))
        outline = np.interp(angle.ravel(), turns, nut.silhouette).reshape(64, 64).astype(np.float32)
        shadow = 1 - (1 - shadow) * (1 - strength / (1 + np.exp(np.minimum((distance - outline) / width - 0.5, 30))))
    tone *= 1 - cv2.resize(shadow.astype(np.float32), (resolution, resolution), interpolation=cv2.INTER_CUBIC)
    cloth: Floats = tone[..., None] * (np.array([0.172, 0.165, 0.182]) * level).astype(np.float32)
    for cx, cy, size, bright in rng.uniform(0, 1, (9, 4)).tolist():
        _speck(cloth, cx, cy, 0.0011 + 0.002 * size**3, 0.35 * bright**3)
    return cloth


def _speck(image: Floats, x: float, y: float, radius: float, opacity: float) -> None:
    """Blend one round grain of dust into `image` in place; area is kept where it is smaller than a pixel."""
    resolution = len(image)
    spread = max(radius * resolution, 0.5)
    opacity *= min(1.0, (radius * resolution / spread) ** 2)
    reach = int(3 * spread) + 1
    rows = np.arange(max(0, int(y * resolution) - reach), min(resolution, int(y * resolution) + reach + 1))
    columns = np.arange(max(0, int(x * resolution) - reach), min(resolution, int(x * resolution) + reach + 1))
    squared = (rows[:, None] + 0.5 - y * resolution) ** 2 + (columns + 0.5 - x * resolution) ** 2
    weight = (opacity * np.exp(-0.5 * squared / spread**2)).astype(np.float32)
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    part += (np.array([0.6, 0.55, 0.5], np.float32) - part) * weight[..., None]


def photograph(samples: Floats, seen: View, cloth: Floats, noise: Floats) -> Floats:
    """Shrink the samples to pixels, lay them over the background and add the camera's noise, [R, R, 3]."""
    top, bottom = seen.rows
    left, right = seen.columns
    size = (right - left, bottom - top)
    nut = cv2.merge([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in samples])
    image = cloth.copy()
    part = image[top:bottom, left:right]
    part += (nut - part) * pixel_coverage(seen)[..., None]
    image += noise * (0.6 + image)  # shot noise grows with the light
    return np.clip(image, 0, 1)


def pixel_coverage(seen: View) -> Floats:
    """Share of the nut in each pixel of the window, [rows, columns]."""
    height, width = seen.coverage.shape
    size = (width // SUPERSAMPLING, height // SUPERSAMPLING)
    return np.asarray(cv2.resize(seen.coverage, size, interpolation=cv2.INTER_AREA))


def camera_noise(rng: np.random.Generator, resolution: int) -> Floats:
    """[R, R, 3], a deviation of about one level."""
    return np.float32(0.006) * rng.standard_normal((resolution, resolution, 3), np.float32)
