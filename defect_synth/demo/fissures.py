"""Fissures in the shell of the procedural hazelnut, which cracks are made of and holes may start."""

from __future__ import annotations

import numpy as np

from defect_synth.demo.surface_patch import Points


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


def fissures(
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
        lines += fissures(rng, points[at], heading + side, shorter, thinner, branches * 0.4, depth + 1)
    return lines
