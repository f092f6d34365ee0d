"""Draw a defect of the procedural hazelnut on a flat patch, and change the surface below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.demo.noise import blend
from defect_synth.demo.nut import SUPERSAMPLING, Floats, Nut, View
from defect_synth.demo.photograph import Light
from defect_synth.demo.shell import Surface

Points = NDArray[np.floating[Any]]

_TEXEL = 1 / 1536  # of a drawing canvas, image sides
_EXCESS = 1.4 * _TEXEL  # what OpenCV adds to the width of a filled polygon with soft edges


@dataclass(frozen=True, eq=False)
class SurfacePatch:
    """A part of the plane that touches the shell at one point.

    Attributes:
        window: Rows and columns of the view that the patch may cover.
        x: Coordinate of each sample of the window along the patch, image sides; 0 at the touching point.
        y: The other coordinate.
        sight: How far a line of sight moves, in x and y, for each unit that it descends below the shell.
        sunlight: How far a ray of the lamp moves for each unit that it rises.
        sample_size: Distance between two samples, image sides.
    """

    window: tuple[slice, slice]
    x: Floats
    y: Floats
    sight: tuple[float, float]
    sunlight: tuple[float, float]
    sample_size: float


@dataclass(frozen=True)
class PatchPosition:
    """Where a patch touches the nut, in polar coordinates (share: 0 centre, 1 outline), and its rotation."""

    angle: float
    share: float
    turn: float


def draw_position(rng: np.random.Generator, farthest: float) -> PatchPosition:
    """Draw a position within the share `farthest` of the way to the outline."""
    angle, turn = rng.uniform(0, 2 * np.pi, 2).tolist()
    return PatchPosition(angle, farthest * rng.uniform() ** 0.5, turn)


def place_patch(place: PatchPosition, reach: float, nut: Nut, seen: View, light: Light) -> SurfacePatch:
    """The patch at `place`, which extends at least `reach` image sides in each direction."""
    row = place.angle / (2 * np.pi) * (len(nut.silhouette) - 1)
    column = np.arcsin(place.share) / (np.pi / 2) * (nut.normals.shape[1] - 1)
    normal = nut.normals[round(row), round(column)].astype(np.float64)
    normal /= np.linalg.norm(normal)
    distance = place.share * float(nut.silhouette[round(row)])
    height = float(nut.directions[round(row), round(column), 3])
    origin = (distance * np.cos(place.angle), distance * np.sin(place.angle), height)
    # Any tangent will do; the turn makes its direction random.
    first = np.cross(normal, (0.0, 1.0, 0.0))
    first /= np.linalg.norm(first)
    second = np.cross(normal, first)
    c, s = np.cos(place.turn), np.sin(place.turn)
    axes = np.stack([c * first + s * second, c * second - s * first, normal])

    # The patch may lie across a corner, and the shell curves away below it.
    extent = 1.42 * reach + 1.5 * reach * reach
    middle = [(o + centre) * seen.samples for o, centre in zip(origin[:2], nut.centre, strict=True)]
    columns, rows = (
        slice(
            *np.clip(
                [
                    m - first * SUPERSAMPLING - extent * seen.samples,
                    m - first * SUPERSAMPLING + extent * seen.samples + 1,
                ],
                0,
                size,
            ).astype(int)
        )
        for m, first, size in zip(middle, (seen.columns[0], seen.rows[0]), seen.coverage.shape[::-1], strict=True)
    )
    offset = seen.position[:, rows, columns] - np.array(origin, np.float32)[:, None, None]
    x, y = np.tensordot(axes[:2].astype(np.float32), offset, 1)
    lamp = axes @ np.array(light.direction)
    sinking = max(float(axes[2, 2]), 0.2)
    rising = max(float(lamp[2]), 0.25)
    return SurfacePatch(
        window=(rows, columns),
        x=x,
        y=y,
        sight=(-float(axes[0, 2]) / sinking, -float(axes[1, 2]) / sinking),
        sunlight=(float(lamp[0]) / rising, float(lamp[1]) / rising),
        sample_size=1 / seen.samples,
    )


class Canvas:
    """A drawing in patch coordinates, [-reach, reach] along both axes.

    Its texels have the same size at every resolution: OpenCV draws a polygon about 0.7 texel too wide on each side,
    which would otherwise make the lines of a small image thicker than those of a large one.
    """

    def __init__(self, reach: float) -> None:
        side = int(np.ceil(2 * reach / _TEXEL))
        self.reach = side * _TEXEL / 2
        self.ink = np.zeros((side, side), np.uint8)

    def fill(self, points: Points) -> None:
        """Fill a polygon, [N, 2] patch coordinates, with a soft edge."""
        texels = (points + self.reach) / _TEXEL - 0.5
        cv2.fillPoly(self.ink, [np.round(texels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)

    def ribbon(self, points: Points, widths: Points) -> None:
        """A line [N, 2] of varying width [N]; not thinner than `_EXCESS`."""
        along = np.gradient(points, axis=0)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        half = np.maximum(widths - _EXCESS, 0)[:, None] / 2
        across = np.stack([-along[:, 1], along[:, 0]], 1) * half
        self.fill(np.concatenate([points + across, (points - across)[::-1]]))

    def drawing(self, patch: SurfacePatch) -> Floats:
        """What was drawn, in 0..1, shrunk by area to about the samples of `patch`."""
        ink = _shrink(self.ink, patch)
        return ink.astype(np.float32) / np.float32(255)

    def distance(self, patch: SurfacePatch) -> Floats:
        """Signed distance to the edge of what was drawn, image sides, positive inside; shrunk likewise."""
        inside = (self.ink >= 128).astype(np.uint8)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
        return _shrink(np.asarray(distance, np.float32) * np.float32(_TEXEL), patch)

    def blurred(self, drawing: Floats, width: float, height: float | None = None) -> Floats:
        """`drawing` under a Gaussian with deviations `width` and `height` (by default the same), image sides."""
        texel = 2 * self.reach / len(drawing)
        sizes = [2 * int(np.ceil(3 * v / texel)) + 1 for v in (width, width if height is None else height)]
        deviations = [max(v / texel, 0.01) for v in (width, width if height is None else height)]
        return np.asarray(cv2.GaussianBlur(drawing, sizes, deviations[0], sigmaY=deviations[1]))

    def on(
        self, patch: SurfacePatch, drawing: Floats, shift: tuple[float, float] = (0, 0), outside: float = 0
    ) -> Floats:
        """`drawing` where the samples of `patch` see it, moved by `shift`; `outside` beyond the canvas."""
        scale = np.float32(len(drawing) / (2 * self.reach))
        x, y = ((v + np.float32(self.reach + s)) * scale - 0.5 for v, s in zip((patch.x, patch.y), shift, strict=True))
        return np.asarray(
            cv2.remap(drawing, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)
        )


def _shrink(image: NDArray[Any], patch: SurfacePatch) -> NDArray[Any]:
    side = max(8, round(len(image) * _TEXEL / patch.sample_size))
    if side >= len(image):
        return image
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA))


class PatchSurface:
    """The part of a surface below a patch; all changes are made in place."""

    def __init__(self, surface: Surface, patch: SurfacePatch) -> None:
        self._albedo = surface.albedo[:, patch.window[0], patch.window[1]]
        self._relief = surface.relief[patch.window]
        self._gloss = surface.gloss[patch.window]
        self._exposure = surface.exposure[patch.window]

    def tint(self, paint: Floats, opacity: Floats) -> None:
        """Paint over the surface with `paint`, [3, H, W] or a colour."""
        self._albedo[...] = blend(self._albedo, paint, opacity)

    def dent(self, depth: Floats) -> None:
        """Lower the surface by `depth` image sides."""
        self._relief[...] -= depth

    def dull(self, share: Floats) -> None:
        """Reduce the gloss by `share`."""
        self._gloss[...] *= 1 - share

    def shine(self, more: Floats) -> None:
        """Increase the gloss."""
        self._gloss[...] += more

    def shade(self, share: Floats) -> None:
        """Reduce the light that arrives by `share`."""
        self._exposure[...] *= 1 - share

    def smooth(self, share: Floats) -> None:
        """Reduce the relief by `share`."""
        self._relief[...] *= 1 - share
