"""Check the images of a user file by file, before hours of training fail because of them."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from defect_synth.data.folders import UNREAD_SUFFIXES
from defect_synth.data.images import read_image
from defect_synth.data.masks import examine_mask
from defect_synth.data.records import Record, Table
from defect_synth.errors import DataError
from defect_synth.samples import Pixels

Progress = Callable[[int, int], None]
"""Called with (images done, images in all)."""

AREA_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

_FEW_GOOD = 50  # fewer show too little variation for the backbone; MVTec AD has 200 to 400
_FEW_DEFECTS = 5  # the smallest base set of the paper
_ALMOST_BLACK = 15
_SIZES_SHOWN = 8


@dataclass(frozen=True)
class Problem:
    """One problem with the data.

    Attributes:
        severity: `error` if training would fail or learn something wrong, `warning` if it deserves a look.
        file: The file or folder.
        message: What is wrong and what to do.
        defects: Defects that an error concerns; empty: all of them.
    """

    severity: Literal["error", "warning"]
    file: Path
    message: str
    defects: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


@dataclass(frozen=True)
class Report:
    """The result of `check`.

    Attributes:
        root: Root of the table.
        layout: Layout of the table.
        category: Object category.
        counts: Number of images of each defect.
        good: Number of good images for training.
        good_test: Number of good images reserved for testing.
        sizes: (width, height) -> number of images.
        mask_area: Defect -> quantiles 0, 1/4, 1/2, 3/4 and 1 of the share of the image covered by its masks.
        problems: Sorted: errors first, then by file.
    """

    root: Path
    layout: str
    category: str
    counts: Mapping[str, int]
    good: int
    good_test: int
    sizes: Mapping[tuple[int, int], int]
    mask_area: Mapping[str, tuple[float, ...]]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that prevent training."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that do not prevent training."""
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def format(self, limit: int = 20) -> str:
        """Text for a terminal, with at most `limit` errors and `limit` warnings."""
        width = max(12, *(len(defect) + 1 for defect in self.counts)) if self.counts else 12
        lines = [
            f"{self.category}: {self.layout} layout in {self.root}",
            "",
            f"{'':{width}} images  mask area: smallest  median  largest",
            f"{'good':{width}} {self.good:6}",
        ]
        if self.good_test:
            lines.append(f"{'good (test)':{width}} {self.good_test:6}")
        for defect, count in self.counts.items():
            area = self.mask_area.get(defect)
            shown = f"{area[0]:20.2%} {area[2]:7.2%} {area[4]:8.2%}" if area else ""
            lines.append(f"{defect:{width}} {count:6} {shown}".rstrip())
        sizes = [f"{w}x{h} ({n})" for (w, h), n in list(self.sizes.items())[:_SIZES_SHOWN]]
        if len(self.sizes) > _SIZES_SHOWN:
            sizes.append(f"... and {len(self.sizes) - _SIZES_SHOWN} others")
        lines += ["", f"sizes: {', '.join(sizes) or 'none could be read'}"]
        lines.append(f"{_number(len(self.errors), 'error')}, {_number(len(self.warnings), 'warning')}")
        for problems in (self.errors, self.warnings):
            for problem in problems[:limit]:
                lines.append(f"  {problem.severity:7}  {_shown(problem.file, self.root)}: {problem.message}")
            if len(problems) > limit:
                lines.append(f"  ... and {_number(len(problems) - limit, f'more {problems[0].severity}')}")
        return "\n".join(lines)


@dataclass
class _Seen:
    """What one image was found to be."""

    size: tuple[int, int] | None = None
    digest: bytes = b""
    area: float | None = None
    problems: list[Problem] = field(default_factory=list)


def check(table: Table, progress: Progress | None = None) -> Report:
    """Read every image and mask of a table and list what is wrong with them.

    Args:
        table: What `layouts.index` found.
        progress: Called after each image.
    """
    seen: list[_Seen] = []
    # Decoding, hashing and resizing leave Python's lock, so threads are enough.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for found in pool.map(_inspect, table.records):
            seen.append(found)
            if progress is not None:
                progress(len(seen), len(table.records))
    problems = [problem for found in seen for problem in found.problems]
    problems += _duplicates(table, seen)
    problems += _counts(table)
    problems += _shared_masks(table)
    problems += [Problem("warning", path, table.reasons.get(path) or _why_unused(path)) for path in table.unused]
    sizes = Counter(found.size for found in seen if found.size is not None)
    if len(sizes) > 1:
        listed = ", ".join(f"{w}x{h} ({n})" for (w, h), n in sizes.most_common(4))
        problems.append(
            Problem("warning", table.root, f"{len(sizes)} image sizes: {listed}; crop them alike, or all are fitted")
        )
    areas = {
        defect: [
            found.area
            for record, found in zip(table.records, seen, strict=True)
            if record.defect == defect and found.area is not None
        ]
        for defect in table.defects
    }
    return Report(
        root=table.root,
        layout=table.layout,
        category=table.category,
        counts={defect: len(table.of(defect)) for defect in table.defects},
        good=len(table.good),
        good_test=len(table.good_test),
        sizes=dict(sizes.most_common()),
        mask_area={
            defect: tuple(float(q) for q in np.quantile(values, AREA_QUANTILES))
            for defect, values in areas.items()
            if values
        },
        problems=tuple(sorted(problems, key=lambda problem: (problem.severity, str(problem.file), problem.message))),
    )


def require_trainable(report: Report, defects: Iterable[str] | None = None) -> None:
    """Refuse to train on data with errors.

    Args:
        report: The result of `check`.
        defects: The defects to train on; None: all.

    Raises:
        DataError: There are errors. The message has the first one and says how to see the others.
    """
    wanted = None if defects is None else set(defects)
    errors = [e for e in report.errors if wanted is None or not e.defects or wanted.intersection(e.defects)]
    if errors:
        more = f" (and {_number(len(errors) - 1, 'more error')})" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}; run `defect-synth check {report.root}` to see everything")


def _inspect(record: Record) -> _Seen:
    found = _Seen()
    defects = () if record.defect is None else (record.defect,)
    try:
        image = read_image(record.image)
    except DataError as error:
        found.problems.append(Problem("error", record.image, _without(record.image, error), defects))
        return found
    height, width = image.shape[:2]
    found.size = (width, height)
    found.digest = hashlib.blake2b(image.tobytes(), key=f"{width}x{height}".encode(), digest_size=16).digest()
    brightest = int(image.max())
    if brightest <= _ALMOST_BLACK:
        message = (
            f"almost black (brightest value {brightest} of 255); 12-bit data in 16 bits? stretch it to all of them"
        )
        found.problems.append(Problem("warning", record.image, message))
    if record.mask is not None or record.defect is not None:
        file = record.mask if isinstance(record.mask, Path) else record.image
        try:
            reading = examine_mask(record, (height, width))
        except DataError as error:
            found.problems.append(Problem("error", file, _without(file, error), defects))
            return found
        found.area = float(reading.mask.mean())
        found.problems += [
            Problem(severity, file, message, defects) for severity, message in _mask_problems(record, reading.mask)
        ]
        if reading.kind == "soft":
            message = f"not binary ({reading.levels} grey levels); cut at half; save masks as PNG without anti-aliasing"
            found.problems.append(Problem("warning", file, message))
        elif reading.kind == "indexed":
            message = (
                f"class indices and 255: the indices are taken as {record.defect}, 255 as a border that is no defect; "
                "save white on black if 255 is the defect"
            )
            found.problems.append(Problem("warning", file, message))
        elif reading.kind == "labels":
            message = f"holds {reading.levels} flat shades; all but black is taken as {record.defect}"
            found.problems.append(Problem("warning", file, message))
    return found


def _mask_problems(record: Record, mask: Pixels) -> Iterable[tuple[Literal["error", "warning"], str]]:
    area, name = mask.mean(), record.image.name
    if record.defect is None:
        if area > 0:
            yield "error", f"marks {area:.1%} of the good image {name}; name its defect or empty the mask"
    elif area == 0:
        yield "error", f"empty: it marks nothing in {name}; mark the {record.defect} or call the image good"
    elif area == 1:
        yield "error", f"full: it marks all of {name}; only the {record.defect} is white, the rest black"
    elif area > 0.5:
        yield "warning", f"marks {area:.0%} of {name}; are black and white swapped?"


def _duplicates(table: Table, seen: list[_Seen]) -> Iterable[Problem]:
    first: dict[bytes, Record] = {}
    for record, found in zip(table.records, seen, strict=True):
        if not found.digest:
            continue
        other = first.setdefault(found.digest, record)
        if other is record:
            continue
        if other.defect == record.defect:
            yield Problem("warning", record.image, f"same pixels as {other.name}; keep one")
        else:
            kinds = tuple(sorted({kind for kind in (other.defect, record.defect) if kind is not None}))
            message = f"same pixels as {other.name}, which is {other.defect or 'good'}; keep it in one place"
            yield Problem("error", record.image, message, kinds)


def _shared_masks(table: Table) -> Iterable[Problem]:
    """One mask file for two images is right for one of them at most."""
    first: dict[Path, Record] = {}
    for record in (record for record in table.records if record.defect is not None):
        if isinstance(record.mask, Path) and (other := first.setdefault(record.mask, record)) is not record:
            kinds = tuple(sorted({kind for kind in (other.defect, record.defect) if kind is not None}))
            yield Problem(
                "error", record.mask, f"the mask of both {other.name} and {record.name}; give each its own", kinds
            )


def _counts(table: Table) -> Iterable[Problem]:
    good = len(table.good)
    if good < 2:
        yield Problem("error", table.root, "1 good image; training needs 2 and works well from 100")
    elif good < _FEW_GOOD:
        yield Problem("warning", table.root, f"{good} good images; fewer than {_FEW_GOOD} show little variation")
    if not table.defects:
        yield Problem("warning", table.root, "no defect images; only the backbone can be trained")
    for defect in table.defects:
        count = len(table.of(defect))
        if count < 2:
            message = f"1 image of {defect}; training needs 2 and works well from {_FEW_DEFECTS}"
            yield Problem("error", table.root, message, (defect,))
        elif count < _FEW_DEFECTS:
            message = f"{count} images of {defect}; fewer than {_FEW_DEFECTS} show little variation"
            yield Problem("warning", table.root, message)


def _why_unused(path: Path) -> str:
    if path.is_dir():
        return "folder without images; add images or remove it"
    if path.suffix.lower() in UNREAD_SUFFIXES:
        return f"{path.suffix} files are not read; save it as PNG"
    return "mask without an image; rename it after its image or remove it"


def _without(file: Path, error: DataError) -> str:
    return str(error).removeprefix(f"{file}: ")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else str(path)
