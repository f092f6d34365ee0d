"""The embedded product: a procedural hazelnut, good or with one of four defects, with exact masks.

It makes the whole package usable, and its tests honest, where no data can be downloaded. Everything is drawn from a
seed with NumPy and OpenCV: `demo_nut` has the body and its pose, `demo_scene` its shell, light and camera,
`demo_defects` what goes wrong with it. Nothing here was taken from a photograph.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.demo.defects import DRAW
from defect_synth.demo.nut import Floats, Nut, View, draw_nut, view
from defect_synth.demo.scene import (
    Light,
    background,
    camera_noise,
    draw_light,
    illuminate,
    paint,
    photograph,
    pixel_coverage,
)
from defect_synth.errors import ConfigError, OutputError, UnknownDefectError
from defect_synth.samples import DefectSample, Pixels, Provenance

CATEGORY = "hazelnut"
DEFECTS = ("crack", "cut", "hole", "print")
GOOD = "good"
DRAWING_VERSION = 1
"""Raised whenever the same seed draws other pixels than before."""

VISIBLE = 8
"""A pixel belongs to the mask where a defect moves one of its colours by at least this much, of 255.

Gaps of a pixel between such pixels belong to it as well if they moved by half as much and are at most a tenth of it.
"""

_NOTICE = """\
This folder is a product of the package defect-synth (module defect_synth.demo.hazelnut), drawn from random numbers.
It is NOT MVTec AD and contains no part of it; only the layout of the folders is the same.

resolution {resolution}, seed {seed}. Image k of a folder is
render(seed * {stride} + {block} * b + k, {resolution}, ...), with b = 0 for train/good, 1 for test/good,
{defects}.
A mask is 255 where the defect changes a colour of the pixel by at least {visible} of 255. Up to a tenth of it may be
gaps between such pixels that changed by at least {half}. Elsewhere the mask is 0 and the image is that of the good nut.
"""
_BLOCK = 1_000_000  # seeds of one folder; folders never share a nut
_STRIDE = 10 * _BLOCK


def render(seed: int, resolution: int, defect: str | None = None) -> DefectSample:
    """One hazelnut, the same bytes for the same arguments.

    The seed alone fixes the nut, its pose, the light and the defect; the resolution only how finely they are seen.

    Args:
        seed: 0 or more; every seed is another nut.
        resolution: Side of the square image, 32..1024 pixels.
        defect: One of `DEFECTS`; None for a good nut.

    Returns:
        A sample whose `clean` is the same nut without the defect and equal to `image` outside of `mask`. A good nut
        has the defect `good`, an empty mask and `clean` equal to `image`.

    Raises:
        UnknownDefectError: `defect` is not in `DEFECTS`.
        ConfigError: `seed` or `resolution` is out of range.
    """
    if defect is not None and defect not in DEFECTS:
        raise UnknownDefectError(defect, CATEGORY, DEFECTS)
    scene = _Scene.draw(seed, resolution)
    surface = paint(_stream(seed, "shell"), scene.nut, scene.seen)
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
    """Where the nut of `render(seed, resolution)` is: uint8 [R, R], 1 on pixels that it covers by half or more."""
    return _Scene.draw(seed, resolution).object_mask()


@dataclass(frozen=True)
class DemoSource:
    """The procedural hazelnut as an endless `DefectSource`.

    Attributes:
        resolution: Side of the images, 32..1024 pixels.
    """

    resolution: int = 256

    def __post_init__(self) -> None:
        """Check the resolution now rather than at the first sample."""
        _check(0, self.resolution)

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
        """Identifies the drawing program and the side of its images."""
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


def write_demo(
    root: Path,
    resolution: int = 256,
    good: int = 200,
    test_good: int = 20,
    per_defect: int = 18,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a category in MVTec layout, complete or not at all.

    Args:
        root: Where the folder `hazelnut` is made.
        resolution: Side of the images, 32..1024 pixels.
        good: Images of train/good.
        test_good: Images of test/good.
        per_defect: Images and masks of each defect.
        seed: Another seed gives other nuts throughout.
        progress: Called with (images written, images in all) after each image.

    Returns:
        The folder `root/hazelnut`.

    Raises:
        OutputError: `root/hazelnut` holds something already, or cannot be written.
        ConfigError: A number is out of range.
    """
    _check(seed, resolution)
    for name, count in (("good", good), ("test_good", test_good), ("per_defect", per_defect)):
        if not 0 <= count <= _BLOCK:
            raise ConfigError(f"{name} must be 0..{_BLOCK}, got {count}")
    target = Path(root) / CATEGORY
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise OutputError(f"{target} is taken already; choose another folder or remove it")
    folders = [("train", GOOD, good), ("test", GOOD, test_good), *(("test", defect, per_defect) for defect in DEFECTS)]
    jobs = [
        (part, name, k, seed * _STRIDE + block * _BLOCK + k)
        for block, (part, name, count) in enumerate(folders)
        for k in range(count)
    ]
    partial: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{CATEGORY}-", dir=target.parent))
        draft = partial / CATEGORY
        for part, name, _ in folders:
            (draft / part / name).mkdir(parents=True)
            if name != GOOD:
                (draft / "ground_truth" / name).mkdir(parents=True)

        def write(job: tuple[str, str, int, int]) -> None:
            part, name, k, item_seed = job
            sample = render(item_seed, resolution, None if name == GOOD else name)
            _write_png(draft / part / name / f"{k:03d}.png", sample.image[..., ::-1])
            if name != GOOD:
                _write_png(draft / "ground_truth" / name / f"{k:03d}_mask.png", sample.mask * np.uint8(255))

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            try:
                for done, _ in enumerate(pool.map(write, jobs), start=1):
                    if progress is not None:
                        progress(done, len(jobs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # do not draw the rest first
                raise
        (draft / "PROCEDURAL.txt").write_text(
            _NOTICE.format(
                resolution=resolution,
                seed=seed,
                stride=_STRIDE,
                block=_BLOCK,
                visible=VISIBLE,
                half=VISIBLE // 2,
                defects=", ".join(f"{b} for {defect}" for b, defect in enumerate(DEFECTS, start=2)),
            ),
            encoding="utf-8",
        )
        if target.exists():
            target.rmdir()  # empty, and not every system replaces an empty folder
        os.replace(draft, target)
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error.strerror or error}; choose another folder") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
    return target


@dataclass(frozen=True, eq=False)
class _Scene:
    """All that a defect does not change."""

    nut: Nut
    seen: View
    light: Light
    cloth: Floats
    noise: Floats

    @classmethod
    def draw(cls, seed: int, resolution: int) -> _Scene:
        _check(seed, resolution)
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
    """Independent random numbers for each part, so that a change to one leaves the others as they were."""
    return np.random.default_rng([seed, _STREAMS.index(name)])


def _check(seed: int, resolution: int) -> None:
    if seed < 0:
        raise ConfigError(f"seed must be 0 or more, got {seed}")
    if not 32 <= resolution <= 1024:
        raise ConfigError(f"resolution must be 32..1024, got {resolution}")


def _to_pixels(image: Floats) -> Pixels:
    return (image * 255 + 0.5).astype(np.uint8)


def _difference(good: Floats, bad: Floats, nut: Pixels) -> tuple[Pixels, Pixels]:
    """The defect image and its mask from two photographs that differ by the defect.

    A defect that this resolution would lose is strengthened, up to threefold until four of its pixels show, and further
    until one does. Gaps that changed half as much arise where a bright lip turns into a dark core.
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


def _write_png(path: Path, image: Pixels) -> None:
    encoded, data = cv2.imencode(".png", image)
    assert encoded
    path.write_bytes(data.tobytes())
