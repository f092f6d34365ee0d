"""The surface of the procedural hazelnut: its shell, its tip and the hilum, before light falls on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from defect_synth.demo.noise import blend, colour, lattice, sample, smoothstep, visible
from defect_synth.demo.nut import SUPERSAMPLING, Floats, Nut, View


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


def draw_shell(rng: np.random.Generator, nut: Nut, seen: View) -> Surface:
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
    felt = _Hilum(rng, nut)
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


class _Hilum:
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
