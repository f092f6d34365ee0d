"""The procedural hazelnut, good or with one of four defects, with exact masks.

With it the whole package can be used and tested where no data can be downloaded. Everything is drawn from a seed with
NumPy and OpenCV: `nut` has the shape and the pose, `shell` the surface, `defects` what can go wrong with it and
`photograph` the light and the camera. Nothing was taken from a real photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.demo.defects import DRAW
from defect_synth.demo.nut import Floats, Nut, View, draw_nut, view
from defect_synth.demo.photograph import (
    Light,
    background,
    camera_noise,
    draw_light,
    illuminate,
    photograph,
    pixel_coverage,
)
from defect_synth.demo.shell import draw_shell
from defect_synth.errors import ConfigError, UnknownDefectError
from defect_synth.samples import DefectSample, Pixels, Provenance

CATEGORY = "hazelnut"
DEFECTS = ("crack", "cut", "hole", "print")
GOOD = "good"
DRAWING_VERSION = 1
"""To be raised whenever the same seed draws other pixels than before."""

VISIBLE = 8
"""A pixel belongs to the mask if a defect changes one of its colours by at least this much, of 255.

One-pixel gaps between them belong to it, too, if they changed by half as much and are at most a tenth of it.
"""


def render(seed: int, resolution: int, defect: str | None = None) -> DefectSample:
    """Draw one hazelnut; the same arguments give the same bytes.

    The seed alone fixes the nut, its pose, the light and the defect; the resolution fixes how finely they are seen.

    Args:
        seed: 0 or more; every seed is another nut.
        resolution: Side of the square image in pixels, 32..1024.
        defect: One of `DEFECTS`; None: a good nut.

    Returns:
        A sample whose `clean` is the same nut without the defect, equal to `image` outside of `mask`. A good nut has
        the defect `good`, an empty mask, and `clean` equal to `image`.

    Raises:
        UnknownDefectError: `defect` is not in `DEFECTS`.
        ConfigError: `seed` or `resolution` is out of range.
    """
    if defect is not None and defect not in DEFECTS:
        raise UnknownDefectError(defect, CATEGORY, DEFECTS)
    scene = _HazelnutScene.draw(seed, resolution)
    surface = draw_shell(_stream(seed, "shell"), scene.nut, scene.seen)
    good = scene.photograph(illuminate(surface, scene.light, scene.seen))
    clean = _to_pixels(good)
    image, mask = clean, np.zeros((resolution, resolution), np.uint8)
    if defect is not None:
        DRAW[defect](_stream(seed, defect), surface, scene.nut, scene.seen, scene.light)
        bad = scene.photograph(illuminate(surface, scene.light, scene.seen))
        image, mask = _difference(good, bad, scene.object_mask())
    return DefectSample(
        image=image,
        mask=mask,
        defect=defect or GOOD,
        provenance=Provenance("procedural", CATEGORY, defect or GOOD, seed, parameters={"resolution": resolution}),
        clean=clean,
    )


def object_mask(seed: int, resolution: int) -> Pixels:
    """The mask of the nut in `render(seed, resolution)`: uint8 [R, R], 1 on pixels covered by half or more."""
    return _HazelnutScene.draw(seed, resolution).object_mask()


@dataclass(frozen=True)
class DemoSource:
    """The procedural hazelnut as a `DefectSource` that accepts every seed.

    Attributes:
        resolution: Side of the images, 32..1024 pixels.
    """

    resolution: int = 256

    def __post_init__(self) -> None:
        """Check the resolution at once rather than at the first sample."""
        check_arguments(0, self.resolution)

    @property
    def category(self) -> str:
        """Object category."""
        return CATEGORY

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return DEFECTS

    @property
    def digest(self) -> str:
        """Identifies the version of the drawing program and the size of the images."""
        return f"procedural hazelnut {DRAWING_VERSION}, {self.resolution} px"

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order; each is `render(seed, resolution, defect)`.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            ConfigError: A seed is negative.
        """
        if defect not in DEFECTS:
            raise UnknownDefectError(defect, CATEGORY, DEFECTS)
        return [render(int(seed), self.resolution, defect) for seed in seeds]


@dataclass(frozen=True, eq=False)
class _HazelnutScene:
    """Everything that a defect does not change."""

    nut: Nut
    seen: View
    light: Light
    cloth: Floats
    noise: Floats

    @classmethod
    def draw(cls, seed: int, resolution: int) -> _HazelnutScene:
        check_arguments(seed, resolution)
        nut = draw_nut(_stream(seed, "nut"))
        light = draw_light(_stream(seed, "light"))
        return cls(
            nut=nut,
            seen=view(nut, resolution),
            light=light,
            cloth=background(_stream(seed, "cloth"), nut, light, resolution),
            noise=camera_noise(_stream(seed, "noise"), resolution),
        )

    def photograph(self, samples: Floats) -> Floats:
        return photograph(samples, self.seen, self.cloth, self.noise)

    def object_mask(self) -> Pixels:
        mask = np.zeros((self.seen.resolution, self.seen.resolution), np.uint8)
        (top, bottom), (left, right) = self.seen.rows, self.seen.columns
        mask[top:bottom, left:right] = pixel_coverage(self.seen) >= 0.5
        return mask


_STREAMS = ("nut", "light", "shell", "cloth", "noise", *DEFECTS)


def _stream(seed: int, name: str) -> np.random.Generator:
    """Independent random numbers for each part of the drawing, so that changes to one do not affect the others."""
    return np.random.default_rng([seed, _STREAMS.index(name)])


def check_arguments(seed: int, resolution: int) -> None:
    """Check the arguments of `render`.

    Raises:
        ConfigError: One is out of range.
    """
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    if not 32 <= resolution <= 1024:
        raise ConfigError(f"resolution must be 32..1024, got {resolution}")


def _to_pixels(image: Floats) -> Pixels:
    return (image * 255 + 0.5).astype(np.uint8)


def _difference(good: Floats, bad: Floats, nut: Pixels) -> tuple[Pixels, Pixels]:
    """The defect image and its mask from two images that differ by the defect.

    A defect that would be lost at this resolution is strengthened, up to threefold until four of its pixels are
    visible, and further until one is. Gaps that changed half as much occur where a bright lip turns into a dark core.
    """
    change = bad - good
    largest = _over_colours(np.abs(change)) * nut
    wanted = np.float32((VISIBLE + 1) / 255)
    if np.count_nonzero(largest >= wanted) < 4:
        peak, _, _, fourth = np.sort(largest, axis=None)[:-5:-1]
        bad = np.clip(good + change * max(min(3, wanted / max(fourth, 1e-9)), wanted / max(peak, 1e-9), 1), 0, 1)
    image, clean = _to_pixels(bad), _to_pixels(good)
    moved = _over_colours(cv2.absdiff(image, clean))
    changed = (moved >= VISIBLE).astype(np.uint8) & nut
    closed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) & (moved >= VISIBLE // 2) & nut
    mask = closed if 10 * int(changed.sum()) >= 9 * int(closed.sum()) else changed
    return np.where(mask[..., None] > 0, image, clean), mask


def _over_colours(image: NDArray[Any]) -> NDArray[Any]:
    red, green, blue = cv2.split(image)  # much faster than a maximum along the last axis
    return np.asarray(np.maximum(np.maximum(red, green), blue))
