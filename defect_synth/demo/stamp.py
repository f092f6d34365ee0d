"""Printed marks of the procedural hazelnut, see `defects`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from defect_synth.demo.noise import colour, lattice, sample, smoothstep, visible
from defect_synth.demo.nut import Nut, View
from defect_synth.demo.photograph import Light
from defect_synth.demo.shell import Surface
from defect_synth.demo.surface_patch import Canvas, PatchSurface, Points, SurfacePatch, draw_position, place_patch

# Strokes of stamped characters on a grid of 4 x 6, y down. OpenCV's own fonts differ between its versions.
_GLYPHS: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "A": (((0, 6), (2, 0), (4, 6)), ((0.8, 4), (3.2, 4))),
    "E": (((4, 0), (0, 0), (0, 6), (4, 6)), ((0, 3), (3, 3))),
    "F": (((4, 0), (0, 0), (0, 6)), ((0, 3), (3, 3))),
    "H": (((0, 0), (0, 6)), ((4, 0), (4, 6)), ((0, 3), (4, 3))),
    "K": (((0, 0), (0, 6)), ((4, 0), (0, 3.4), (4, 6))),
    "L": (((0, 0), (0, 6), (4, 6)),),
    "M": (((0, 6), (0, 0), (2, 3.5), (4, 0), (4, 6)),),
    "N": (((0, 6), (0, 0), (4, 6), (4, 0)),),
    "R": (((0, 6), (0, 0), (3, 0), (4, 1), (4, 2.2), (3, 3.2), (0, 3.2)), ((2, 3.2), (4, 6))),
    "S": (((4, 0.8), (3, 0), (1, 0), (0, 1), (0, 2), (1, 3), (3, 3), (4, 4), (4, 5), (3, 6), (1, 6), (0, 5.2)),),
    "T": (((0, 0), (4, 0)), ((2, 0), (2, 6))),
    "X": (((0, 0), (4, 6)), ((4, 0), (0, 6))),
    "Z": (((0, 0), (4, 0), (0, 6), (4, 6)),),
    "0": (((1.2, 0), (2.8, 0), (4, 1.5), (4, 4.5), (2.8, 6), (1.2, 6), (0, 4.5), (0, 1.5), (1.2, 0)),),
    "1": (((0.8, 1.4), (2.4, 0), (2.4, 6)),),
    "2": (((0, 1.2), (1, 0), (3, 0), (4, 1.2), (4, 2.2), (0, 6), (4, 6)),),
    "4": (((3, 6), (3, 0), (0, 4), (4, 4)),),
    "5": (((4, 0), (0.4, 0), (0, 2.8), (2.8, 2.4), (4, 3.6), (4, 4.8), (2.8, 6), (0, 5.6)),),
    "7": (((0, 0), (4, 0), (1.4, 6)),),
    "8": (
        ((1, 0), (3, 0), (4, 1), (4, 2), (3, 3), (1, 3), (0, 2), (0, 1), (1, 0)),
        ((1, 3), (0, 4), (0, 5), (1, 6), (3, 6), (4, 5), (4, 4), (3, 3)),
    ),
}


def stamp(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """A stamped mark: characters, bars or a ring in white, grey or bluish ink that took in parts only."""
    place = draw_position(rng, 0.5)
    severity = rng.uniform()
    height = rng.uniform(0.035, 0.085) + 0.04 * severity
    stroke = height * rng.uniform(0.14, 0.32)
    kind = rng.choice(["characters", "characters", "characters", "ring", "bars", "smudge"])
    strokes: list[tuple[Points, float]] = []
    if kind == "characters":
        names = list(_GLYPHS)
        text = [names[int(i)] for i in rng.integers(0, len(names), int(rng.integers(1, 5)))]
        pitch = height * rng.uniform(0.8, 1.0)
        slant = rng.normal(0, 0.12)
        for i, name in enumerate(text):
            for corners in _GLYPHS[name]:
                points = np.array(corners) / 6 - (1 / 3, 0.5)
                points = points * height + ((i - (len(text) - 1) / 2) * pitch, 0)
                points[:, 0] -= slant * points[:, 1]
                strokes.append((points, stroke))
    elif kind == "ring":
        t = np.linspace(0, 2 * np.pi * rng.uniform(0.6, 1), 40)
        strokes.append((height * 0.6 * np.stack([np.cos(t), np.sin(t) * rng.uniform(0.8, 1)], 1), stroke))
        if rng.uniform() < 0.6:
            strokes.append((np.array([[0.9, -0.8], [1.1, 0.7]]) * height, stroke * 1.4))
    elif kind == "bars":
        for i in range(int(rng.integers(2, 8))):
            at = (i - 2.5) * height * 0.3
            strokes.append((np.array([[at, -0.5], [at, 0.5]]) * (1, height), stroke * rng.uniform(0.4, 1.1)))
    else:
        for _ in range(int(rng.integers(3, 9))):
            points = np.cumsum(rng.normal(0, 0.35, (5, 2)) * (1.6, 0.7) * height, 0)
            strokes.append((points - points.mean(0), stroke * rng.uniform(0.6, 1.8)))
    patches, fine = lattice(rng, 9, 9), lattice(rng, 80, 80)
    missing = 0.7 * rng.uniform() ** 2  # share of the mark that took no ink
    smear = rng.uniform(0, 1) ** 2 * 0.009
    opacity = 0.16 + 0.84 * severity**0.55 * rng.uniform(0.6, 1)
    inks = ((1.02, 1.02, 1.0), (0.74, 0.74, 0.72), (0.62, 0.7, 0.86))
    ink = colour(*inks[int(rng.integers(0, 3))], rng.uniform(0.85, 1.15))
    warp = np.clip(rng.normal(0, 0.35, 2), -0.8, 0.8).tolist()

    reach = float(max(np.abs(line).max() + width for line, width in strokes)) + 2 * smear
    patch = place_patch(place, reach + 4 * reach * reach, nut, seen, light)  # more, because the stamp bends
    canvas = Canvas(reach)
    for line, width in strokes:
        _stroke(canvas, line, width)
    drawing = canvas.drawing(patch)
    if smear > 0.001:  # dragged along x while wet
        drawing = np.maximum(canvas.blurred(drawing, smear, 0) * 1.25, drawing * 0.6)
    drawing = canvas.blurred(np.minimum(drawing, 1), 0.0012)
    part = PatchSurface(surface, patch)
    # The stamp bends with the shell.
    bent = SurfacePatch(
        patch.window,
        patch.x + np.float32(warp[0]) * patch.y * patch.y / np.float32(0.3),
        patch.y + np.float32(warp[1]) * patch.x * patch.x / np.float32(0.3),
        patch.sight,
        patch.sunlight,
        patch.sample_size,
    )
    mark = canvas.on(bent, drawing)
    u, v = patch.x * np.float32(2) + 0.5, patch.y * np.float32(2) + 0.5
    # Ink takes on the ridges of the shell first, and misses part of the mark.
    ridges = surface.relief[patch.window] * np.float32(900)
    took = (
        0.55 * sample(patches, u, v) + 0.5 * visible(120, seen.resolution) * sample(fine, u, v) + np.clip(ridges, -1, 1)
    )
    level = float(np.quantile(took[mark >= 0.5 * mark.max()], missing))
    mark = mark * smoothstep(level - 0.25, level + 0.25, took) * np.float32(opacity)
    part.tint(ink, np.clip(mark, 0, 1))
    part.shine(mark * np.float32(0.35))


def _stroke(canvas: Canvas, points: Points, width: float) -> None:
    """A line of constant width with square ends; corners are drawn stroke by stroke."""
    for first, second in pairwise(points):
        more = (second - first) / max(float(np.linalg.norm(second - first)), 1e-9) * width * 0.4
        canvas.ribbon(np.stack([first - more, second + more]), np.full(2, width))
