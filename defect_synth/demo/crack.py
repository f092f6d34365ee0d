"""Cracks of the procedural hazelnut, see `defects`."""

from __future__ import annotations

import numpy as np

from defect_synth.demo.fissures import fissures
from defect_synth.demo.noise import blend, colour, lattice, sample, smoothstep
from defect_synth.demo.nut import Floats, Nut, View
from defect_synth.demo.photograph import Light
from defect_synth.demo.shell import Surface
from defect_synth.demo.surface_patch import Canvas, PatchSurface, Points, SurfacePatch, draw_position, place_patch


def crack(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """A branching fissure, from a hairline to a shell with a piece missing and the kernel in sight."""
    place = draw_position(rng, 0.5)
    severity = rng.uniform()
    width = (0.0014 + 0.0018 * 5.5**severity) * rng.uniform(0.8, 1.3)
    length = rng.uniform(0.1, 0.28) + 0.3 * severity * rng.uniform(0.3, 1)
    lines = []
    opening = None
    if rng.uniform() < 0.12 + 0.5 * severity:
        opening = _jagged(rng, 0.032 * 6.0 ** (severity * rng.uniform(0.3, 1.0)) * rng.uniform(0.8, 1.3))
        for corner in rng.choice(len(opening), int(rng.integers(0, 4)), replace=False):
            away = float(np.arctan2(opening[corner, 1], opening[corner, 0])) + rng.normal(0, 0.35)
            lines += fissures(rng, opening[corner] * 0.97, away, length * rng.uniform(0.2, 0.6), width, 0.4)
    else:
        start = np.array([-length / 2, 0.0])
        lines += fissures(rng, start, 0.0, length, width, 0.5 + 2.2 * severity)
    darkness = rng.uniform(0.55, 0.97)
    brightness = rng.uniform(0.1, 0.75)
    depth = rng.uniform(0.3, 0.9)

    everything = [points for points, _ in lines] + ([] if opening is None else [opening])
    reach = float(max(np.abs(points).max() for points in everything)) * 1.1 + 0.015
    patch = place_patch(place, reach, nut, seen, light)
    part = PatchSurface(surface, patch)
    if lines:
        canvas = Canvas(reach)
        for points, widths in lines:
            canvas.ribbon(points, widths)
        drawing = canvas.drawing(patch)
        core = canvas.on(patch, drawing)
        wide = canvas.on(patch, np.maximum(drawing, canvas.blurred(drawing, 0.45 * width)))
        lip = np.clip(canvas.on(patch, canvas.blurred(drawing, 0.75 * width)) * 1.7, 0, 1) * (1 - core)
        part.tint(colour(0.8, 0.58, 0.39), lip * brightness)
        part.tint(colour(0.055, 0.035, 0.03), core * darkness)
        part.dent(wide * np.float32(0.7 * width * depth))
        part.dull(np.clip(lip + core, 0, 1))
    if opening is not None:
        _break_open(rng, part, patch, opening)


def _jagged(rng: np.random.Generator, size: float) -> Points:
    """The outline of a missing piece of shell, [N, 2]: long straight breaks with sharp corners."""
    corners = int(rng.integers(5, 10))
    angles = np.sort((np.arange(corners) + rng.uniform(-0.36, 0.36, corners)) * (2 * np.pi / corners))
    flat = rng.uniform(0.45, 1)
    radii = size * np.exp(rng.normal(0, 0.24, corners))
    rough = np.stack([radii * np.cos(angles), flat * radii * np.sin(angles)], 1)
    # Each break is subdivided once or twice with small offsets.
    for scale in (0.09, 0.06, 0.05):
        following = np.roll(rough, -1, 0)
        edge = following - rough
        across = np.stack([edge[:, 1], -edge[:, 0]], 1)
        middle = (rough + following) / 2 + across * rng.normal(0.35 * scale, scale, (len(rough), 1))
        rough = np.stack([rough, middle], 1).reshape(-1, 2)
    return rough


def _break_open(rng: np.random.Generator, part: PatchSurface, patch: SurfacePatch, outline: Points) -> None:
    """Take out the piece of shell within `outline`: the broken edge of the shell, a gap, and the kernel behind it."""
    thickness = rng.uniform(0.012, 0.022)
    gap = rng.uniform(0.003, 0.014)
    bevel = rng.uniform(0.002, 0.008)
    grain = lattice(rng, 14, 5), lattice(rng, 36, 20)
    pale = colour(0.8, 0.58, 0.37, rng.uniform(0.85, 1.1))
    brown = colour(0.4, 0.2, 0.125, rng.uniform(0.7, 1.1))
    rot = rng.uniform(0, 0.5)
    canvas = Canvas(float(np.abs(outline).max()) * 1.25)
    canvas.fill(outline)
    inside = canvas.distance(patch)
    soft = 0.7 * patch.sample_size
    sx, sy = patch.sight
    lx, ly = patch.sunlight

    def depth(below: float, above: float = 0) -> Floats:
        """How far inside the outline a line of sight is `below` the shell, seen from the lamp if it rises `above`."""
        return canvas.on(patch, inside, (sx * below + lx * above, sy * below + ly * above), -1)

    top = depth(0)
    hollow = smoothstep(-soft, soft, top)
    u, v = patch.x * np.float32(2), patch.y * np.float32(2)
    wrinkles = 0.7 * sample(grain[0], u, v) + 0.5 * sample(grain[1], u, v)
    # The shell broke at a slant, so its edge shows all around, and more of it on the side that faces the camera.
    slant = bevel * np.clip(1 + 0.6 * sample(grain[0], v, u), 0.2, 2)
    through = smoothstep(-soft, soft * 2, np.minimum(depth(thickness), top) - slant)
    # Below the edge it is dark; light falls in on the side away from the lamp.
    level = thickness + gap
    reached = smoothstep(-0.3 * level, 0.7 * level, depth(level, level))
    crevice = smoothstep(0.2 * bevel, 0.9 * level + bevel, depth(level) + 0.3 * gap)
    tone = 1 + 0.2 * wrinkles - rot * smoothstep(0.4, 1.6, wrinkles)
    kernel = brown * (tone * (0.12 + 0.88 * reached) * (0.12 + 0.88 * crevice))
    layer = np.clip(1 - (top - 0.3 * slant) / np.float32(2.2 * bevel), 0.55, 1)  # the shell is darker inside
    edge = pale * ((0.7 + 0.3 * reached + 0.1 * wrinkles) * layer)
    # Skin came off along the break.
    beside = np.maximum(-top, np.float32(0)) + np.float32(0.0012) * wrinkles
    worn = smoothstep(0.004, 0.0, beside) * (1 - hollow)
    part.tint(pale, worn * 0.7)
    part.tint(blend(edge, kernel, through), hollow)
    part.smooth(hollow)
    part.dent((hollow - 0.35 * through * wrinkles) * np.float32(0.002))
    part.dull(np.maximum(hollow, worn))
