"""The four defects of the procedural hazelnut: crack, cut, hole and print.

Each is drawn on a patch, the plane that touches the shell at a random visible place, and projected onto the curved
shell. A defect changes in place what the surface is (colour, relief, gloss, light that arrives); how that looks under
the lamp is computed afterwards. Lengths are in image sides.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from defect_synth.data.demo_nut import Floats, Nut, View
from defect_synth.data.demo_patch import Canvas, Part, Patch, Points, draw_place, lay
from defect_synth.data.demo_scene import Light, Surface, blend, colour, lattice, sample, smoothstep, visible


def _walk(
    rng: np.random.Generator, start: Points, heading: float, length: float, width: float, roughness: float
) -> tuple[Points, Points]:
    """A fissure: a random walk with sharp turns that thins out towards its end. Points [N, 2] and widths [N]."""
    n = max(6, int(length / 0.007))
    turns = rng.normal(0, 0.16 * roughness, n) + rng.normal(0, 0.85 * roughness, n) * (rng.uniform(size=n) < 0.22)
    bend = rng.normal(0, 0.5)
    # Turns pull back to the heading, so that a fissure runs across the shell instead of curling up.
    angles = np.zeros(n)
    for i in range(1, n):
        angles[i] = 0.72 * angles[i - 1] + turns[i]
    angles += heading + bend * np.linspace(0, 1, n)
    steps = length / n * np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(0.6, 1.4, (n, 1))
    points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    taper = np.sin(np.pi * np.linspace(0.12, 1, n + 1) ** 0.8) ** 0.7
    wobble = np.exp(0.38 * np.convolve(rng.normal(0, 1, n + 3), np.ones(3) / 1.7, "valid"))
    return points, width * np.maximum(taper, 0.12) * wobble


def _fissures(
    rng: np.random.Generator,
    start: Points,
    heading: float,
    length: float,
    width: float,
    branches: float,
    depth: int = 0,
) -> list[tuple[Points, Points]]:
    """A fissure and its branches."""
    roughness = rng.uniform(0.55, 1.3)
    points, widths = _walk(rng, start, heading, length, width, roughness)
    lines = [(points, widths)]
    for _ in range(int(rng.poisson(branches)) if depth < 2 else 0):
        at = int(rng.uniform(0.15, 0.85) * len(points))
        side = rng.choice([-1, 1]) * rng.uniform(0.45, 1.25)
        shorter = length * rng.uniform(0.15, 0.5)
        thinner = float(widths[at]) * rng.uniform(0.4, 0.85)
        lines += _fissures(rng, points[at], heading + side, shorter, thinner, branches * 0.4, depth + 1)
    return lines


def crack(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """A branching fissure, from a hairline to a shell with a piece missing and the kernel in sight."""
    place = draw_place(rng, 0.5)
    severity = rng.uniform()
    width = (0.0014 + 0.0018 * 5.5**severity) * rng.uniform(0.8, 1.3)
    length = rng.uniform(0.1, 0.28) + 0.3 * severity * rng.uniform(0.3, 1)
    lines = []
    opening = None
    if rng.uniform() < 0.12 + 0.5 * severity:
        opening = _jagged(rng, 0.032 * 6.0 ** (severity * rng.uniform(0.3, 1.0)) * rng.uniform(0.8, 1.3))
        for corner in rng.choice(len(opening), int(rng.integers(0, 4)), replace=False):
            away = float(np.arctan2(opening[corner, 1], opening[corner, 0])) + rng.normal(0, 0.35)
            lines += _fissures(rng, opening[corner] * 0.97, away, length * rng.uniform(0.2, 0.6), width, 0.4)
    else:
        start = np.array([-length / 2, 0.0])
        lines += _fissures(rng, start, 0.0, length, width, 0.5 + 2.2 * severity)
    darkness = rng.uniform(0.55, 0.97)
    brightness = rng.uniform(0.1, 0.75)
    depth = rng.uniform(0.3, 0.9)

    everything = [points for points, _ in lines] + ([] if opening is None else [opening])
    reach = float(max(np.abs(points).max() for points in everything)) * 1.1 + 0.015
    patch = lay(place, reach, nut, seen, light)
    part = Part(surface, patch)
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


def _break_open(rng: np.random.Generator, part: Part, patch: Patch, outline: Points) -> None:
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


def cut(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """One to three straight shallow gouges that expose paler wood, from a scratch to a carved groove."""
    place = draw_place(rng, 0.6)
    severity = rng.uniform()
    strokes = int(rng.choice([1, 1, 1, 2, 2, 3]))
    length = rng.uniform(0.07, 0.2) + 0.17 * severity * rng.uniform()
    width = (0.002 + 0.0045 * 6.5**severity) * rng.uniform(0.8, 1.25)
    reach = length * 0.5 + 0.07
    patch = lay(place, reach, nut, seen, light)
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
    part = Part(surface, patch)
    gouge = canvas.on(patch, drawing)
    grooves = sample(streaks, patch.x * np.float32(2), patch.y * np.float32(2.2)) * visible(110, seen.resolution)
    fine = 1 + 0.13 * grooves
    part.tint(wood * fine, gouge * opacity * np.clip(0.93 + 0.16 * grooves, 0, 1))
    part.tint(colour(0.13, 0.08, 0.06), slit.on(patch, slit.drawing(patch)) * darkness)
    part.dent(canvas.on(patch, canvas.blurred(drawing, 0.28 * width)) * np.float32(depth * width * opacity))
    rim = np.clip(canvas.on(patch, canvas.blurred(drawing, 0.35 * width)) * 1.5, 0, 1) * (1 - gouge)
    part.shade(rim * 0.3 * opacity)
    part.dull(gouge)


def hole(rng: np.random.Generator, surface: Surface, nut: Nut, seen: View, light: Light) -> None:
    """One or two bored holes: a rim of chipped shell, a wall that the lamp reaches in part, darkness below."""
    for _ in range(2 if rng.uniform() < 0.2 else 1):
        place = draw_place(rng, 0.68)
        severity = rng.uniform()
        radius = 0.0085 * 5.6**severity * rng.uniform(0.85, 1.2)
        ragged = rng.uniform(0.01, 0.1)
        rim = 1.08 + 0.3 * rng.uniform() ** 2
        chips = rng.uniform(0.05, 0.6) * rng.uniform(0.3, 1)
        outline, chipped, dirt = lattice(rng, 1, 9), lattice(rng, 1, 14), lattice(rng, 30, 30)
        wood = colour(0.78, 0.56, 0.37, rng.uniform(0.75, 1.12))
        thickness = radius * rng.uniform(0.35, 0.9)
        fissures = int(rng.choice([0, 0, 0, 1, 2])) if severity > 0.3 else 0
        lines = []
        for _ in range(fissures):
            away = rng.uniform(0, 2 * np.pi)
            start = radius * np.array([np.cos(away), np.sin(away)])
            lines += _fissures(rng, start, away, rng.uniform(0.05, 0.14), 0.0012 + 0.12 * radius, 0.2)
        reach = 0.2 if lines else radius * 2.1 + 0.012
        patch = lay(place, reach, nut, seen, light)
        part = Part(surface, patch)
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
    place = draw_place(rng, 0.5)
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
    patch = lay(place, reach + 4 * reach * reach, nut, seen, light)  # more, because the stamp bends
    canvas = Canvas(reach)
    for line, width in strokes:
        _stroke(canvas, line, width)
    drawing = canvas.drawing(patch)
    if smear > 0.001:  # dragged along x while wet
        drawing = np.maximum(canvas.blurred(drawing, smear, 0) * 1.25, drawing * 0.6)
    drawing = canvas.blurred(np.minimum(drawing, 1), 0.0012)
    part = Part(surface, patch)
    # The stamp bends with the shell.
    bent = Patch(
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


DRAW: dict[str, Callable[[np.random.Generator, Surface, Nut, View, Light], None]] = {
    "crack": crack,
    "cut": cut,
    "hole": hole,
    "print": stamp,
}
