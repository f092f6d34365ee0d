"""What the procedural hazelnut is made of and how it is lit: shell and hilum, light, background, camera.

Colours are RGB in 0..1 as a display shows them. Noise is band-limited: an octave finer than the image can show is faded
out instead of aliased, so that images of two sizes differ in detail only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from defect_synth.demo.nut import SUPERSAMPLING, Floats, Nut, View

_TEXELS = 8  # per cell of a coarse noise lattice: `cv2.remap` rounds positions to 1/32 texel, which would show as steps


@dataclass(frozen=True, eq=False)
class Surface:
    """The visible surface of the nut before light falls on it; every array is [H, W] of the view but `albedo`.

    Attributes:
        albedo: [3, H, W], colour under full light.
        relief: Height over the smooth body, image sides; light is computed from its slope.
        gloss: Strength of the highlight.
        exposure: Share of the light that arrives, 0 in a deep hole.
    """

    albedo: Floats
    relief: Floats
    gloss: Floats
    exposure: Floats


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


def paint(rng: np.random.Generator, nut: Nut, seen: View) -> Surface:
    """Shell, tip and hilum of `nut` over the samples of `seen`."""
    x, y, z = seen.direction
    turn = np.arctan2(y, x) * np.float32(0.5 / np.pi) + np.float32(0.5)  # along the equator, period 1
    across = np.sqrt(x * x + y * y)
    latitude = np.arccos(np.clip(z, -1, 1)) * np.float32(1 / np.pi)  # 0 at the tip, 1 at the base
    # Stereographic coordinates keep mottles round wherever they lie on the visible half.
    px, py, pz = seen.position / np.float32(nut.scale)
    norm = np.sqrt(px * px + py * py + pz * pz) + pz
    flat_x, flat_y = 0.5 * px / norm + 0.5, 0.5 * py / norm + 0.5

    dust = [
        sample(lattice(rng, cells, cells), flat_x, flat_y) * np.float32(visible(0.8 * cells, seen.resolution))
        for cells in (120, 300)
    ]
    mottle = sample(lattice(rng, 6, 6), flat_x, flat_y) + 0.6 * sample(lattice(rng, 17, 17), flat_x, flat_y)
    surface = _shell(rng, seen.resolution, turn, latitude, across, mottle, dust)
    felt = _Felt(rng, nut)
    # Tangent of the angle to the axis, 1 at the corner where the base was cut off.
    radius = np.where(z < -0.05, across / np.maximum(-z, 0.05), 20) * np.float32(nut.base_plane / felt.radius)
    near = radius < 1.4
    if near.any():
        rows, columns = (np.flatnonzero(near.any(axis)) for axis in (1, 0))
        part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        felt.cover(
            surface,
            part,
            seen.resolution,
            turn[part],
            across[part],
            radius[part],
            mottle[part],
            [d[part] for d in dust],
        )
    return surface


def _shell(
    rng: np.random.Generator,
    resolution: int,
    turn: Floats,
    latitude: Floats,
    across: Floats,
    mottle: Floats,
    dust: list[Floats],
) -> Surface:
    grain, fine = dust
    hue, lightness, contrast, worn = rng.normal(0, 1, 4).tolist()
    base = colour(0.55 + 0.006 * hue, 0.268 - 0.014 * hue, 0.158 - 0.016 * hue, 1 + 0.08 * lightness)
    contrast = float(np.clip(1 + 0.3 * contrast, 0.35, 1.7))

    # Fibres run from tip to base and waver a little; they fade where they converge closer than a sample.
    waver = turn + 0.006 * sample(lattice(rng, 4, 9), turn, latitude)
    fibres = np.zeros_like(turn)
    relief = np.zeros_like(turn)
    streaks = np.zeros_like(turn)
    for columns, rows, strength, height in (
        (24, 2, 0.5, 0.55),
        (48, 3, 0.7, 0.5),
        (130, 6, 0.4, 0.12),
        (390, 14, 0.33, 0.02),
    ):
        noise = lattice(rng, rows, columns)
        per_side = columns / 2.1  # the equator is about 2.1 image sides long
        seen = np.clip(2 * across * (resolution / per_side) - 1, 0, 1)
        octave = sample(noise, waver, latitude) * seen
        fibres += np.float32(strength) * octave
        relief += np.float32(height) * octave
        if columns == 48:
            streaks = octave
    tone = contrast * (0.085 * fibres - 0.2 * smoothstep(0.25, 1.3, streaks)) + 0.04 * mottle
    tone += 0.028 * grain + 0.028 * fine
    # Dark streaks turn to a deeper red-brown, light ones to ochre.
    albedo = base * (1 + tone) * (1 + tone * colour(-0.1, 0.25, 0.3))
    # Grey down on the tip, combed along the fibres.
    reach = float(np.clip(0.16 + 0.06 * worn, 0.04, 0.34))
    comb = sample(lattice(rng, 5, 90), waver, latitude) * np.clip(across * 3, 0, 1)
    down = smoothstep(reach * 1.6, reach * 0.2, latitude + 0.035 * comb + 0.02 * mottle) * (0.62 + 0.1 * grain)
    albedo = blend(albedo, colour(0.56, 0.46, 0.38), np.clip(down, 0, 0.8))
    # Flakes of skin and scratches.
    flakes = sample(lattice(rng, 60, 190), waver, latitude) + 0.7 * grain
    flakes = smoothstep(2.35, 3.0, flakes + 0.35 * mottle) * float(np.clip(0.35 + 0.25 * worn, 0, 0.8))
    albedo = blend(albedo, colour(0.78, 0.56, 0.4), flakes * np.float32(visible(60, resolution)))
    gloss = (0.3 - 0.25 * down) * np.clip(1 + 0.25 * mottle - 0.12 * grain, 0.2, 2)
    relief = relief * np.float32(0.0016 * contrast) + 0.00022 * grain
    return Surface(albedo, relief * np.clip(across * 2, 0, 1), gloss, np.ones_like(turn))


class _Felt:
    """The hilum, a scar of radial felt with a paler middle and a scalloped rim. All is drawn when it is made."""

    def __init__(self, rng: np.random.Generator, nut: Nut) -> None:
        hue, lightness, self._middle, edge, furrow, shade = rng.normal(0, 1, 6).tolist()
        self._base = colour(0.45 + 0.014 * hue, 0.315, 0.22 - 0.012 * hue, 1 + 0.16 * lightness)
        self.radius = rng.uniform(0.54, 0.66)
        self._middle = min(max(self._middle, -0.5), 2)
        self._knobs = min(max(0.75 + 0.3 * edge, 0.1), 1)
        self._furrow = min(max(0.42 + 0.3 * furrow, 0), 0.85)
        self._shade = min(max(0.22 + 0.15 * shade, 0), 0.5)
        grids = ((1, 7), (2, 34), (1, 62), (2, 15), (3, 80), (9, 210))
        self._noise = [lattice(rng, *grid) for grid in grids]

    def cover(
        self,
        surface: Surface,
        window: tuple[slice, slice],
        resolution: int,
        turn: Floats,
        across: Floats,
        radius: Floats,
        mottle: Floats,
        dust: list[Floats],
    ) -> None:
        """Lay the hilum over the part `window` of `surface`, in place; the other arrays are that part already."""
        none = np.zeros_like(turn)
        wide, scallop, knobs, broken, spokes, felt = self._noise
        fuzz, fine = dust
        radius = radius * (1 + 0.06 * sample(wide, turn, none) + 0.026 * sample(scallop, turn, radius * 0.1))
        ragged = radius + 0.012 * fuzz
        soft = 0.025 + 1.2 / (0.3 * SUPERSAMPLING * resolution)
        share = smoothstep(1 + soft, 1 - soft, ragged)

        knobs, broken = sample(knobs, turn, none), sample(broken, turn, radius * 0.2)
        spokes = sample(spokes, turn, radius * 0.5) * np.clip(across * (resolution / 40) - 0.4, 0, 1)
        felt = sample(felt, turn, radius * 0.5) * np.clip(across * (resolution / 105) - 0.4, 0, 1)
        tone = 0.08 * spokes + 0.12 * felt + 0.11 * fuzz + 0.09 * fine + 0.08 * mottle
        tone += 0.12 * self._middle * smoothstep(0.42, 0.08, radius + 0.05 * fuzz)
        albedo = self._base * np.maximum(1 + tone, 0.25)
        # The rim: warm knobs outside, a dark and broken furrow inside of them.
        ring = smoothstep(0.84, 0.95, ragged + 0.03 * knobs) * self._knobs
        furrow = np.exp(-(((ragged + 0.035 * knobs - 0.86) / 0.045) ** 2))
        furrow *= self._furrow * np.clip(0.6 + 0.5 * broken + 0.2 * knobs, 0, 1)
        warm = colour(0.58, 0.37, 0.23) * (1 + 0.1 * knobs + 0.1 * fuzz)
        albedo = blend(albedo, warm, ring * (0.75 + 0.15 * broken))
        albedo *= 1 - 0.6 * furrow
        relief = 0.0022 * ring * (1 + 0.25 * knobs) + 0.0008 * felt + 0.0008 * fuzz + 0.0004 * spokes - 0.001 * furrow
        # Just outside, the shell lies in the shade of the rim.
        shade = np.exp(-(((radius - 1.03) / 0.05) ** 2)) * (1 - share) * self._shade

        part = surface.albedo[:, window[0], window[1]]
        part[...] = blend(part, albedo, share)
        surface.relief[window] += (relief - surface.relief[window]) * share
        surface.gloss[window] *= 1 - share
        surface.exposure[window] *= 1 - shade


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
