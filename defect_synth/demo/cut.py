"""Cuts of the procedural hazelnut, see `defects`."""

from __future__ import annotations

import numpy as np

from defect_synth.demo.noise import colour, lattice, sample, visible
from defect_synth.demo.nut import Nut, View
from defect_synth.demo.photograph import Light
from defect_synth.demo.shell import Surface
from defect_synth.demo.surface_patch import Canvas, PatchSurface, draw_position, place_patch


def cut(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """One to three straight shallow gouges that expose paler wood, from a scratch to a carved groove."""
    place = draw_position(rng, 0.6)
    severity = rng.uniform()
    strokes = int(rng.choice([1, 1, 1, 2, 2, 3]))
    length = rng.uniform(0.07, 0.2) + 0.17 * severity * rng.uniform()
    width = (0.002 + 0.0045 * 6.5**severity) * rng.uniform(0.8, 1.25)
    reach = length * 0.5 + 0.07
    patch = place_patch(place, reach, nut, seen, light)
    canvas, slit = Canvas(reach), Canvas(reach)
    spread = rng.uniform(1.8, 5) * width + 0.012
    for i in range(strokes):
        n = 48
        t = np.linspace(-0.5, 0.5, n)
        long = length * (1 if i == 0 else rng.uniform(0.4, 1))
        lean = rng.normal(0, 0.12) if i else 0.0
        bow = rng.normal(0, 0.05) * long
        rough = np.convolve(rng.normal(0, 1, n + 4), np.ones(5) / 2.2, "valid")
        side = (i - (strokes - 1) / 2) * spread
        points = np.stack([t * long + rng.normal(0, 0.01), side + lean * t * long + bow * (4 * t * t - 0.5)], 1)
        points[:, 1] += 0.06 * width * rough
        blunt = rng.uniform(0.25, 0.8)
        lopsided = 1 + rng.uniform(-0.6, 0.6) * t * 2
        profile = np.sin(np.pi * np.linspace(0.03, 0.97, n)) ** blunt * lopsided * np.exp(0.17 * rough)
        widths = width * profile * (1 if i == 0 else rng.uniform(0.5, 1))
        canvas.ribbon(points, widths)
        for _ in range(int(rng.integers(0, 3))):  # the blade lifts splinters at its ends
            at = int(rng.choice([rng.integers(2, 7), rng.integers(n - 7, n - 2)]))
            size = width * rng.uniform(0.4, 0.9)
            canvas.fill(points[at] + rng.normal(0, size, (5, 2)) * (1.6, 0.8))
        if rng.uniform() < 0.3 + 0.4 * severity:  # deep enough to show a dark slit
            first, last = sorted(rng.uniform(0, 1, 2) * (n - 1))
            piece = slice(int(first), max(int(last), int(first) + 6))
            slit.ribbon(points[piece], widths[piece] * rng.uniform(0.15, 0.4))
    streaks = lattice(rng, 60, 9)
    opacity = min(1.0, rng.uniform(0.35, 0.75) + 0.6 * severity)
    wood = colour(0.83, 0.63, 0.43, rng.uniform(0.72, 1.1))
    depth = rng.uniform(0.12, 0.34)
    darkness = rng.uniform(0.5, 0.95)

    drawing = canvas.drawing(patch)
    part = PatchSurface(surface, patch)
    gouge = canvas.on(patch, drawing)
    grooves = sample(streaks, patch.x * np.float32(2), patch.y * np.float32(2.2)) * visible(110, seen.resolution)
    fine = 1 + 0.13 * grooves
    part.tint(wood * fine, gouge * opacity * np.clip(0.93 + 0.16 * grooves, 0, 1))
    part.tint(colour(0.13, 0.08, 0.06), slit.on(patch, slit.drawing(patch)) * darkness)
    part.dent(canvas.on(patch, canvas.blurred(drawing, 0.28 * width)) * np.float32(depth * width * opacity))
    rim = np.clip(canvas.on(patch, canvas.blurred(drawing, 0.35 * width)) * 1.5, 0, 1) * (1 - gouge)
    part.shade(rim * 0.3 * opacity)
    part.dull(gouge)
