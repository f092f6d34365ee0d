"""Bored holes of the procedural hazelnut, see `defects`."""

from __future__ import annotations

import numpy as np

from defect_synth.demo.fissures import fissures
from defect_synth.demo.noise import blend, colour, lattice, sample, smoothstep
from defect_synth.demo.nut import Nut, View
from defect_synth.demo.photograph import Light
from defect_synth.demo.shell import Surface
from defect_synth.demo.surface_patch import Canvas, PatchSurface, draw_position, place_patch


def hole(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """One or two bored holes: a rim of chipped shell, a wall that the lamp reaches in part, darkness below."""
    for _ in range(2 if rng.uniform() < 0.2 else 1):
        place = draw_position(rng, 0.68)
        severity = rng.uniform()
        radius = 0.0085 * 5.6**severity * rng.uniform(0.85, 1.2)
        ragged = rng.uniform(0.01, 0.1)
        rim = 1.08 + 0.3 * rng.uniform() ** 2
        chips = rng.uniform(0.05, 0.6) * rng.uniform(0.3, 1)
        outline, chipped, dirt = lattice(rng, 1, 9), lattice(rng, 1, 14), lattice(rng, 30, 30)
        wood = colour(0.78, 0.56, 0.37, rng.uniform(0.75, 1.12))
        thickness = radius * rng.uniform(0.35, 0.9)
        cracks = int(rng.choice([0, 0, 0, 1, 2])) if severity > 0.3 else 0
        lines = []
        for _ in range(cracks):
            away = rng.uniform(0, 2 * np.pi)
            start = radius * np.array([np.cos(away), np.sin(away)])
            lines += fissures(rng, start, away, rng.uniform(0.05, 0.14), 0.0012 + 0.12 * radius, 0.2)
        reach = 0.2 if lines else radius * 2.1 + 0.012
        patch = place_patch(place, reach, nut, seen, light)
        part = PatchSurface(surface, patch)
        if lines:
            canvas = Canvas(reach)
            for points, widths in lines:
                canvas.ribbon(points, widths)
            part.tint(colour(0.07, 0.045, 0.035), canvas.on(patch, canvas.drawing(patch)) * 0.85)

        x, y = patch.x / np.float32(radius), patch.y / np.float32(radius)  # from here in radii of the hole
        squared = x * x + y * y
        turn = np.arctan2(y, x) * np.float32(0.5 / np.pi)
        none = np.zeros_like(turn)
        edge = 1 + np.float32(ragged) * sample(outline, turn, none)
        distance = np.sqrt(squared) / edge
        soft = 0.7 * patch.sample_size / radius
        speck = sample(dirt, x * np.float32(0.23) + 0.5, y * np.float32(0.23) + 0.5)
        bore = smoothstep(1 + soft, 1 - soft, distance)
        lip = rim + chips * np.maximum(0.5 + sample(chipped, turn, none), 0)
        chip = smoothstep(soft + 0.06, -soft - 0.06, distance - lip - 0.05 * speck)
        part.tint(wood * (1 + 0.16 * speck), chip * (0.88 + 0.1 * speck))
        part.dent(chip * np.float32(0.07 * radius))

        # A line of sight enters at (x, y) and meets the wall at depth h, or the bottom.
        ex, ey = patch.sight
        square = max(ex * ex + ey * ey, 1e-4)
        along = x * ex + y * ey
        h = (-along + np.sqrt(np.maximum(along * along + square * np.maximum(1 - squared, 0), 0))) / square
        h = np.clip(h, 0, 6)
        wall_x, wall_y = x + ex * h, y + ey * h
        lx, ly = patch.sunlight
        # It is lit where the ray towards the lamp leaves through the opening, and faces the lamp.
        leaves = np.sqrt((wall_x + lx * h) ** 2 + (wall_y + ly * h) ** 2)
        faces = np.clip(-(wall_x * lx + wall_y * ly) * 1.5 + 0.15, 0, 1)
        lit = smoothstep(1.3, 0.8, leaves) * faces * np.exp(-0.5 * h)
        glow = 0.4 * np.exp(-1.4 * h) + 0.85 * lit
        shell = smoothstep(thickness / radius + 0.25, thickness / radius - 0.1, h)
        inner = blend(colour(0.3, 0.17, 0.11), wood, shell) * (glow * (1 + 0.15 * speck))
        part.tint(inner + np.float32(0.018), bore)
        part.smooth(bore)
        part.dull(np.maximum(chip * 0.8, bore))
