"""Write the procedural hazelnut as a data set in MVTec AD layout."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from defect_synth.atomic import output_errors, replacing_folder
from defect_synth.data.png import write_png
from defect_synth.demo.hazelnut import CATEGORY, DEFECTS, GOOD, VISIBLE, check_arguments, render
from defect_synth.errors import ConfigError
from defect_synth.samples import mask_to_pixels

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


class _Job(NamedTuple):
    """One image to write: `<part>/<name>/<number>.png`, drawn from `seed`."""

    part: str
    name: str
    number: int
    seed: int


def write_demo(
    root: Path,
    resolution: int = 256,
    good: int = 200,
    test_good: int = 20,
    per_defect: int = 18,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a category in MVTec AD layout, completely or not at all.

    Args:
        root: Where the folder `hazelnut` is made.
        resolution: Side of the images, 32..1024 pixels.
        good: Number of images in train/good.
        test_good: Number of images in test/good.
        per_defect: Number of images and masks of each defect.
        seed: Another seed gives other nuts throughout.
        progress: Called with (images written, images in all) after each image.

    Returns:
        The folder `root/hazelnut`.

    Raises:
        OutputError: `root/hazelnut` already holds something, or cannot be written.
        ConfigError: A number is out of range.
    """
    check_arguments(seed, resolution)
    for name, count in (("good", good), ("test_good", test_good), ("per_defect", per_defect)):
        if not 0 <= count <= _BLOCK:
            raise ConfigError(f"{name} must be 0..{_BLOCK}, got {count}")
    target = Path(root) / CATEGORY
    folders = [("train", GOOD, good), ("test", GOOD, test_good), *(("test", defect, per_defect) for defect in DEFECTS)]
    jobs = [
        _Job(part, name, k, seed * _STRIDE + block * _BLOCK + k)
        for block, (part, name, count) in enumerate(folders)
        for k in range(count)
    ]
    with replacing_folder(target) as partial:
        with output_errors(target):
            for part, name, _ in folders:
                (partial / part / name).mkdir(parents=True)
                if name != GOOD:
                    (partial / "ground_truth" / name).mkdir(parents=True)
            (partial / "PROCEDURAL.txt").write_text(_notice(resolution, seed), encoding="utf-8")
        _write_all(partial, jobs, resolution, progress)
    return target


def _write_all(folder: Path, jobs: list[_Job], resolution: int, progress: Callable[[int, int], None] | None) -> None:
    """Draw and write all images in several threads."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(lambda job: _write(folder, job, resolution), jobs), start=1):
                if progress is not None:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # do not draw the remaining images first
            raise


def _write(folder: Path, job: _Job, resolution: int) -> None:
    sample = render(job.seed, resolution, None if job.name == GOOD else job.name)
    write_png(folder / job.part / job.name / f"{job.number:03d}.png", sample.image)
    if job.name != GOOD:
        write_png(folder / "ground_truth" / job.name / f"{job.number:03d}_mask.png", mask_to_pixels(sample.mask))


def _notice(resolution: int, seed: int) -> str:
    return _NOTICE.format(
        resolution=resolution,
        seed=seed,
        stride=_STRIDE,
        block=_BLOCK,
        visible=VISIBLE,
        half=VISIBLE // 2,
        defects=", ".join(f"{b} for {defect}" for b, defect in enumerate(DEFECTS, start=2)),
    )
