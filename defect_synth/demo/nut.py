"""The body of the procedural hazelnut: its shape in three dimensions, its pose and where the camera sees its surface.

The nut is a star-shaped body: a superellipse of revolution with a pointed tip, a flattened base (the hilum, where the
nut sat in its husk) and low-frequency bumps. The camera looks along the z axis without perspective, x runs right and y
down; lengths are in image sides. Every random number is drawn before a resolution is known, so a nut stays the same nut
at any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SUPERSAMPLING = 2  # samples per pixel and axis; shrunk by area at the end
_ANGLES = 160  # around the silhouette
_STEPS = 48  # from the middle of the nut to its silhouette
_ELEVATIONS = np.linspace(-0.9, np.pi / 2, 56, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Body:
    """Radius of the nut in every direction, in units of its equator.

    Attributes:
        tip_length: Half-axis from the equator to the tip, before the point is added.
        base_length: Half-axis from the equator to the base, before it is flattened.
        roundness: Exponents of the superellipse on the tip's and the base's side; 2 is an ellipse.
        point: Height and angular width of the pointed tip.
        base_plane: Distance of the flattened base from the centre, and how far it bulges.
        lobes: Amplitudes of the 2- and 3-fold cross-section.
        waves: [K, 5], wave vector, phase and amplitude of the bumps.
    """

    tip_length: float
    base_length: float
    roundness: tuple[float, float]
    point: tuple[float, float]
    base_plane: tuple[float, float]
    lobes: tuple[float, float]
    waves: Floats

    def radius(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Radius along unit vectors of the body's frame, whose z axis ends in the tip; any shape, same shape out."""
        above = z > 0
        exponent = np.where(above, np.float32(self.roundness[0]), np.float32(self.roundness[1]))
        along = np.maximum(np.abs(z), np.float32(1e-6))
        across = np.sqrt(np.maximum(1 - z * z, np.float32(1e-12)))
        lengths = np.where(above, np.float32(self.tip_length), np.float32(self.base_length))
        r = ((along / lengths) ** exponent + across**exponent) ** (-1 / exponent)
        plane, bulge = self.base_plane
        base = ~above
        low = along[base]
        flat = (plane + bulge * np.exp(1.5 - 1.5 / (low * low))) / low  # exponent: -1.5 times the tangent squared
        r[base] -= _softplus((r[base] - flat) * 26) / 26  # smooth minimum: the corner around the hilum is worn
        height, width = self.point
        r += height * np.exp((z - 1) / width)
        # cos 2phi and cos 3phi times powers of sin theta are polynomials, so the poles stay smooth
        r += self.lobes[0] * (x * x - y * y) + self.lobes[1] * (x * x * x - 3 * x * y * y)
        for wx, wy, wz, phase, amplitude in self.waves.tolist():
            r += np.float32(amplitude) * np.sin(wx * x + wy * y + wz * z + np.float32(phase))
        return np.asarray(r, np.float32)


def _softplus(x: Floats) -> Floats:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@dataclass(frozen=True, eq=False)
class Nut:
    """A body in its pose, tabulated over the half of it that the camera sees.

    Attributes:
        centre: Of the body in the image, x and y.
        scale: Length of the equator's radius.
        base_plane: Distance of the flattened base from the body's centre, in units of the equator.
        silhouette: [A + 1], distance of the outline from `centre` at A angles; the last repeats the first.
        normals: [A + 1, S, 3], outward unit normals; row: angle; column: arcsine of the distance over the silhouette.
        directions: [A + 1, S, 4], unit vectors of the body's frame towards the surface, and its height above `centre`.
    """

    centre: tuple[float, float]
    scale: float
    base_plane: float
    silhouette: Floats
    normals: Floats
    directions: Floats


@dataclass(frozen=True, eq=False)
class View:
    """What each sample of the camera sees, in a window around the nut.

    Attributes:
        resolution: Side of the whole image in pixels.
        rows: First and last + 1 row of the window, pixels.
        columns: The same for columns.
        coverage: [H, W] in 0..1, share of the sample that the nut covers; H is `SUPERSAMPLING` times the rows.
        position: [3, H, W], the point of the surface.
        normal: [3, H, W], its outward unit normal.
        direction: [3, H, W], unit vector of the body's frame from the centre to the point.
    """

    resolution: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    coverage: Floats
    position: Floats
    normal: Floats
    direction: Floats

    @property
    def samples(self) -> int:
        """Samples per image side."""
        return self.resolution * SUPERSAMPLING


def draw_nut(rng: np.random.Generator) -> Nut:
    """A new nut in a new pose."""
    waves = rng.normal(0, 1.9, (6, 5))
    waves[:, 3] = rng.uniform(0, 2 * np.pi, 6)
    waves[:, 4] = rng.normal(0, 0.011, 6)
    plane = rng.uniform(0.68, 0.82)
    body = Body(
        tip_length=rng.uniform(0.9, 1.16),
        base_length=plane * rng.uniform(1.14, 1.26),
        roundness=(rng.uniform(1.8, 2.2), rng.uniform(2.1, 2.7)),
        point=(rng.uniform(0.0, 0.11), rng.uniform(0.02, 0.06)),
        base_plane=(plane, rng.uniform(0.02, 0.14)),
        lobes=(rng.normal(0, 0.035), rng.normal(0, 0.02)),
        waves=waves.astype(np.float32),
    )
    # Nuts lie on their side, the base a little more often towards the camera than the tip.
    elevation = np.clip(rng.normal(-0.36, 0.42), -1.35, 1.2)
    turn, roll = rng.uniform(0, 2 * np.pi, 2)
    size = rng.uniform(0.325, 0.36)
    shift = rng.normal(0, 0.012, 2)
    return _tabulate(body, _pose(elevation, turn, roll), size, (0.5 + shift[0], 0.5 + shift[1]))


def _pose(elevation: float, turn: float, roll: float) -> Floats:
    """[3, 3], columns are the body's axes in the camera's frame."""
    c, s = np.cos(elevation), np.sin(elevation)
    ct, st = np.cos(turn), np.sin(turn)
    tip = np.array([c * ct, c * st, s])
    side = np.array([-st, ct, 0.0])
    other = np.cross(tip, side)
    cr, sr = np.cos(roll), np.sin(roll)
    return np.stack([cr * side + sr * other, cr * other - sr * side, tip], 1).astype(np.float32)


def _tabulate(body: Body, pose: Floats, size: float, centre: tuple[float, float]) -> Nut:
    """Trace the body once, over polar coordinates around its centre, and scale it to a disc of radius `size`."""
    angles = np.linspace(0, 2 * np.pi, _ANGLES + 1, dtype=np.float32)
    cos_a, sin_a = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def towards(elevations: Floats) -> Floats:  # [3, A + 1, E], camera frame
        c = np.cos(elevations)
        return np.stack([c * cos_a, c * sin_a, np.sin(elevations) + 0 * cos_a])

    def radius(vectors: Floats) -> Floats:
        x, y, z = np.tensordot(pose.T, vectors, 1)
        return body.radius(x, y, z)

    # A ray at distance d from the centre hits the outermost point whose projection lies at d. Along one angle the
    # projection peaks at the outline and falls towards the middle; its arcsine is close to linear in the elevation.
    grid = np.broadcast_to(_ELEVATIONS, (_ANGLES + 1, len(_ELEVATIONS)))
    reach = radius(towards(grid)) * np.cos(grid)
    outline = reach.max(1)
    arcs = np.arcsin(np.clip(reach / outline[:, None], 0, 1))
    steps = np.linspace(0, np.pi / 2, _STEPS, dtype=np.float32)
    elevations = np.empty((_ANGLES + 1, _STEPS), np.float32)
    for i, peak in enumerate(reach.argmax(1)):
        rising = np.maximum.accumulate(arcs[i, peak:][::-1])
        elevations[i] = np.interp(steps, rising, grid[i, peak:][::-1])
    surface = towards(elevations)
    r = radius(surface)

    position = surface * r
    around = np.concatenate([position[:, 1:], position[:, 1:2]], 1) - np.concatenate(
        [position[:, -2:-1], position[:, :-1]], 1
    )
    normal = np.cross(np.gradient(position, axis=2), around, axis=0)
    normal[:, :, 0] = normal[:, :-1, 1].mean(1, keepdims=True)  # in the middle all angles meet
    normal /= np.sqrt((normal**2).sum(0))

    area = float(0.5 * (outline[:-1] ** 2).mean() * 2 * np.pi)
    scale = size * (np.pi / area) ** 0.5
    directions = np.concatenate([np.tensordot(pose.T, surface, 1), (r * np.sin(elevations) * scale)[None]])
    return Nut(
        centre=centre,
        scale=scale,
        base_plane=body.base_plane[0],
        silhouette=outline * np.float32(scale),
        normals=np.ascontiguousarray(normal.transpose(1, 2, 0)),
        directions=np.ascontiguousarray(directions.transpose(1, 2, 0).astype(np.float32)),
    )


def view(nut: Nut, resolution: int) -> View:
    """Sample the visible surface of `nut` on the grid of an image of `resolution` pixels."""
    angles = np.linspace(0, 2 * np.pi, _ANGLES + 1)
    margin = 1.5 / resolution
    window = []
    for middle, extent in zip(nut.centre, (np.cos(angles), np.sin(angles)), strict=True):
        low, high = (nut.silhouette * extent).min() - margin, (nut.silhouette * extent).max() + margin
        window.append(
            (max(0, int((middle + low) * resolution)), min(resolution, int(np.ceil((middle + high) * resolution))))
        )
    columns, rows = window
    samples = resolution * SUPERSAMPLING
    x, y = (
        ((np.arange(first * SUPERSAMPLING, last * SUPERSAMPLING) + 0.5) / samples - middle).astype(np.float32)
        for (first, last), middle in zip(window, nut.centre, strict=True)
    )
    x, y = np.meshgrid(x, y)
    distance, angle = cv2.cartToPolar(x, y)
    row = np.minimum(angle * np.float32(_ANGLES / (2 * np.pi)), np.float32(_ANGLES))
    whole = np.minimum(row.astype(np.int32), _ANGLES - 1)
    share = row - whole.astype(np.float32)
    outline = nut.silhouette[whole] * (1 - share) + nut.silhouette[whole + 1] * share
    arc = np.arcsin(np.minimum(distance / outline, 1))
    column = arc * np.float32((_STEPS - 1) / (np.pi / 2))
    normal = cv2.remap(nut.normals, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    direction = cv2.remap(nut.directions, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return View(
        resolution=resolution,
        rows=rows,
        columns=columns,
        coverage=np.clip((outline - distance) * samples + 0.5, 0, 1),
        position=np.stack([x, y, direction[..., 3]]),
        normal=np.ascontiguousarray(normal.transpose(2, 0, 1)),
        direction=np.ascontiguousarray(direction[..., :3].transpose(2, 0, 1)),
    )
