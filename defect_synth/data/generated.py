"""Read a generated folder as a source of samples."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.files import listed, open_file
from defect_synth.names import names_in, require_path_inside
from defect_synth.samples import DefectSample, Pixels, Provenance, pixels_to_mask

INDEX_NAME = "provenance.jsonl"

_END = 32  # bytes: of a PNG file the Adler-32 of all pixels, the CRC-32 of the last part, and the end mark
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
_MOST_PIXELS = 2**26
_MOST_LINE, _MOST_LINES = 2**16, 10**6


@dataclass(frozen=True)
class _Record:
    provenance: Provenance
    image: str
    mask: str
    clean: str | None


class FolderSource:
    """A `FiniteSource` of the samples that `defect-synth generate` wrote for one category.

    The folder is in MVTec AD layout with one line of JSON per sample in `provenance.jsonl`: the fields of `Provenance`
    and the paths `image`, `mask` and, if the sample has a clean image, `clean`, relative to the folder. Images are
    read when `sample` is called, so the object is small and can be pickled.

    Args:
        path: The folder of one category (`out/hazelnut`), or its parent (`out`) if that holds only one.

    Raises:
        DataError: There is no `provenance.jsonl`, there are several categories, or a line cannot be read.
        InvalidNameError: A category, a defect or a file is called what leads out of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self._root = find_generated_folder(path)
        self._category, self._records = _read_index(self._root / INDEX_NAME)
        self._defects = tuple(sorted(self._records))

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._defects

    @cached_property
    def digest(self) -> str:
        """Identifies which samples there are, how they were made, and what their files hold now.

        Of each file its length and its end are read. PNG files end with checksums of their pixels.
        """
        found = hashlib.sha256((self._root / INDEX_NAME).read_bytes())
        for defect in self._defects:
            for seed in self.seeds(defect):
                record = self._records[defect][seed]
                for name in filter(None, (record.image, record.mask, record.clean)):
                    found.update(_ending(self._root / name))
        return found.hexdigest()

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The seeds that exist for `defect`, ascending.

        Raises:
            UnknownDefectError: The folder has no such defect.
        """
        if defect not in self._records:
            raise UnknownDefectError(defect, self._category, self._defects)
        return tuple(sorted(self._records[defect]))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """The stored samples with these seeds, in order.

        Raises:
            UnknownDefectError: The folder has no such defect.
            DataError: There is no sample with this seed, or a file cannot be read.
        """
        known = self.seeds(defect)
        for seed in seeds:
            if seed not in self._records[defect]:
                raise DataError(
                    f"{self._root} has no sample of {defect!r} with seed {seed}: it holds {len(known)} seeds from "
                    f"{known[0]} to {known[-1]}; take them from .seeds({defect!r}) or generate this one"
                )
        return [self._load(self._records[defect][seed]) for seed in seeds]

    def files(self, defect: str) -> list[tuple[Path, Path]]:
        """Paths of the image and the mask of each sample of `defect`, in the order of the seeds.

        Raises:
            UnknownDefectError: The folder has no such defect.
        """
        records = [self._records[defect][seed] for seed in self.seeds(defect)]
        return [(self._root / record.image, self._root / record.mask) for record in records]

    def _load(self, record: _Record) -> DefectSample:
        image = _read_image(self._root / record.image, "RGB")
        mask = pixels_to_mask(_read_image(self._root / record.mask, "L"))
        clean = None if record.clean is None else _read_image(self._root / record.clean, "RGB")
        try:
            return DefectSample(image, mask, record.provenance.defect, record.provenance, clean)
        except ValueError as error:
            raise DataError(f"{self._root / record.image}: {error}") from None


def _ending(path: Path) -> bytes:
    """The length of a file and its last bytes; empty for one that cannot be read."""
    try:
        with open_file(path) as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(max(0, length - _END))
            return str(length).encode() + file.read()
    except (DataError, OSError):
        return b""


def find_generated_folder(path: str | Path) -> Path:
    """The folder with `provenance.jsonl`: `path` itself, or its only subfolder with one.

    Raises:
        DataError: There is no such folder, or more than one.
    """
    path = Path(path)
    if (path / INDEX_NAME).exists():
        return path
    found = [folder for folder in listed(path) if (folder / INDEX_NAME).is_file()] if path.is_dir() else []
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise DataError(f"{path} holds several categories ({names}); give one of them, such as {found[0]}")
    if not found:
        raise DataError(
            f"no {INDEX_NAME} in {path} or one folder below; expected a folder from `defect-synth generate`"
        )
    return found[0]


def _read_index(path: Path) -> tuple[str, dict[str, dict[int, _Record]]]:
    records: dict[str, dict[int, _Record]] = {}
    categories: set[str] = set()
    for number, record in _records(path):
        of_defect = records.setdefault(record.provenance.defect, {})
        if record.provenance.seed in of_defect:
            raise DataError(
                f"{path}, line {number}: seed {record.provenance.seed} of {record.provenance.defect!r} is there twice; "
                "keep one line per defect and seed"
            )
        of_defect[record.provenance.seed] = record
        categories.add(record.provenance.category)
    if len(categories) != 1:
        found = ", ".join(sorted(categories)) or "no sample"
        raise DataError(f"{path}: expected samples of one category, found {found}")
    return categories.pop(), records


def _records(path: Path) -> Iterator[tuple[int, _Record]]:
    """Line number and record of each line; a line at a time, since a file may be large."""
    with open_file(path) as file:
        for number in range(1, _MOST_LINES + 1):
            line = file.readline(_MOST_LINE + 1)
            if not line:
                return
            try:
                if len(line) > _MOST_LINE:
                    raise ValueError(f"longer than {_MOST_LINE} bytes")
                with names_in(f"{path}, line {number}"):
                    record = _parse(json.loads(line)) if line.strip() else None
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise DataError(
                    f"{path}, line {number}: not a sample's record ({_what(error)}); generate the folder again"
                ) from None
            if record is not None:
                yield number, record
    raise DataError(f"{path} has more than {_MOST_LINES} lines; split the folder")


def _what(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error)[:120]


def _parse(values: dict[str, Any]) -> _Record:
    image, mask, clean = values.pop("image"), values.pop("mask"), values.pop("clean", None)
    provenance = Provenance.from_json(values)
    for file in (image, mask, *([] if clean is None else [clean])):
        if type(file) is not str:
            raise TypeError("image, mask and clean must be relative paths")
        require_path_inside(file)
    return _Record(provenance, image, mask, clean)


def _read_image(path: Path, mode: str) -> Pixels:
    from PIL import Image

    if not path.exists():
        raise DataError(f"{path} is named in {INDEX_NAME} but missing; generate the folder again")
    with open_file(path) as opened:
        try:
            with Image.open(opened, formats=_FORMATS) as file:
                if file.width * file.height > _MOST_PIXELS:
                    raise ValueError(f"{file.width}x{file.height} pixels")
                return np.array(file.convert(mode), dtype=np.uint8)
        except Exception as error:  # Pillow's decoders raise all kinds of exceptions on damaged files
            raise DataError(f"{path} cannot be read as an image ({error}); generate the folder again") from None
