"""A bank: recorded defects as memory-mapped arrays, opened in milliseconds and shared by all workers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from defect_synth.composite.triplet import Triplet
from defect_synth.errors import ConfigError, DataError, OutputError, UnknownDefectError
from defect_synth.gates import GateReport, Gates
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance

FORMAT = 1
INDEX = "bank.json"
_ARRAYS = ("images", "masks", "cleans", "appearance", "boxes")
_CHUNK = 16
_TRIES = 20  # samples drawn for each one that is kept, at most


@dataclass(frozen=True)
class Entry:
    """What is known of one recorded defect besides its pixels."""

    defect: str
    has_clean: bool
    provenance: dict[str, Any]


class Bank:
    """Recorded triplets (clean, defect image, mask) of one category; a `DefectSource`.

    Pickles as its path where it has one, so workers map the same memory.

    Attributes:
        category: Object category.
        digest: Of every entry's pixels, source and seed.
        appearance: float32 [N, 48]: mean colour of a 4x4 grid of the clean image (the defect image without one) / 255.
    """

    def __init__(
        self, category: str, entries: Sequence[Entry], arrays: dict[str, NDArray[Any]], digest: str, path: Path | None
    ) -> None:
        self.category, self.digest, self.path = category, digest, path
        self.entries = tuple(entries)
        self._arrays = arrays
        self.appearance: NDArray[np.float32] = arrays["appearance"]

    @classmethod
    def open(cls, path: str | Path) -> Bank:
        """Map a bank's arrays; reads nothing but its index.

        Raises:
            DataError: `path` is no bank, of a newer format, or damaged.
        """
        path = Path(path)
        if not (path / INDEX).is_file():
            raise DataError(f"{path} is no bank (no {INDEX}); make one with `defect-synth bank RUN -o {path}`")
        try:
            index = json.loads((path / INDEX).read_text(encoding="utf-8"))
            if int(index["format"]) > FORMAT:
                raise DataError(f"{path} has bank format {index['format']}, this version reads up to {FORMAT}; upgrade")
            entries = [Entry(**entry) for entry in index["entries"]]
            arrays = {
                name: np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
                for name in _ARRAYS
                if (path / f"{name}.npy").is_file()
            }
            category, digest = str(index["category"]), str(index["digest"])
            if any(len(array) != len(entries) for array in arrays.values()) or not entries:
                raise ValueError("arrays and index differ in length")
            return cls(category, entries, {n: arrays[n] for n in _ARRAYS if n in arrays or n != "cleans"}, digest, path)
        except (ValueError, KeyError, TypeError, OSError, EOFError) as error:
            raise DataError(f"{path} is damaged ({str(error)[:80]}); make the bank again") from None

    def __len__(self) -> int:
        return len(self.entries)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return Bank.open, (str(self.path),)
        return Bank, (self.category, self.entries, self._arrays, self.digest, None)

    @cached_property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(sorted({entry.defect for entry in self.entries}))

    @cached_property
    def _places(self) -> dict[str, NDArray[np.intp]]:
        names = np.array([entry.defect for entry in self.entries])
        return {defect: np.flatnonzero(names == defect) for defect in self.defects}

    def indices(self, defect: str) -> NDArray[np.intp]:
        """Numbers of the entries of one defect.

        Raises:
            UnknownDefectError: The bank has no such defect.
        """
        if defect not in self._places:
            raise UnknownDefectError(defect, self.category, self.defects)
        return self._places[defect]

    def triplet(self, number: int) -> Triplet:
        """Views of one entry's arrays; read-only where they are mapped."""
        clean = self._arrays["cleans"][number] if self.entries[number].has_clean else None
        return Triplet(clean, self._arrays["images"][number], self._arrays["masks"][number])

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Tight box (y0, x0, y1, x1) of an entry's mask."""
        y0, x0, y1, x1 = (int(v) for v in self._arrays["boxes"][number])
        return y0, x0, y1, x1

    def recorded(self) -> Iterator[DefectSample]:
        """Every entry once, in order, with the provenance it was recorded with."""
        for number, entry in enumerate(self.entries):
            clean, image, mask = self.triplet(number)
            copied = None if clean is None else np.array(clean)
            yield DefectSample(
                np.array(image), np.array(mask), entry.defect, Provenance.from_json(entry.provenance), copied
            )

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """The entry that each seed picks, as it was recorded."""
        places = self.indices(defect)
        samples = []
        for seed in seeds:
            number = int(places[np.random.default_rng([seed, 17]).integers(len(places))])
            clean, image, mask = self.triplet(number)
            provenance = Provenance("bank", self.category, defect, seed, self.digest, {"entry": number})
            copied = None if clean is None else np.array(clean)
            samples.append(DefectSample(np.array(image), np.array(mask), defect, provenance, copied))
        return samples


def record(category: str, samples: Sequence[DefectSample], digest: str = "") -> Bank:
    """A bank in memory.

    Raises:
        DataError: No samples, or images of several sizes.
    """
    arrays, entries = _arrays_of(category, samples)
    return Bank(category, entries, arrays, digest or _digest(entries, arrays), None)


def build_bank(
    source: DefectSource,
    path: Path,
    *,
    count: int = 100,
    defects: Sequence[str] | None = None,
    gates: Gates | Mapping[str, Gates] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Bank, GateReport]:
    """Draw `count` samples of each defect that pass the gates, and write them as a bank: all of it, or nothing.

    Args:
        source: Any source; a finite one is used up to its last sample.
        path: New folder.
        count: Entries per defect.
        defects: Which; None: all.
        gates: What is thrown away, for all defects or by defect; None: the default gates.
        seed: Of the first sample; rejected ones are followed by the next seeds.
        progress: Called with (kept, wanted).

    Raises:
        ConfigError: `count` is below 1.
        OutputError: `path` is taken or cannot be written.
        DataError: The gates let nothing through.
    """
    if count < 1:
        raise ConfigError(f"count must be 1 or more, got {count}")
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} holds something already; choose another --output or remove it")
    chosen = tuple(source.defects if defects is None else dict.fromkeys(defects))
    report = GateReport()
    kept: list[DefectSample] = []
    for defect in chosen:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, tuple(source.defects))
        limits = gates if isinstance(gates, Gates) else (gates or {}).get(defect, Gates())
        kept += _accepted(source, defect, count, limits, seed, report, progress, (len(kept), count * len(chosen)))
    if not kept:
        raise DataError(f"the gates rejected every sample ({report.summary()}); look at the samples, or train longer")
    bank = record(source.category, kept, "")
    _write(path, bank)
    return Bank.open(path), report


def _accepted(
    source: DefectSource,
    defect: str,
    count: int,
    gates: Gates,
    seed: int,
    report: GateReport,
    progress: Callable[[int, int], None] | None,
    place: tuple[int, int],
) -> list[DefectSample]:
    kept: list[DefectSample] = []
    finite = getattr(source, "seeds", None)
    seeds = list(finite(defect)) if callable(finite) else range(seed, seed + count * _TRIES)
    for start in range(0, len(seeds), _CHUNK):
        for sample in source.sample(defect, seeds[start : start + _CHUNK]):
            if report.add(gates.reject(sample), defect) and len(kept) < count:
                kept.append(sample)
        if progress is not None:
            progress(place[0] + len(kept), place[1])
        if len(kept) >= count:
            break
    return kept


def _arrays_of(category: str, samples: Sequence[DefectSample]) -> tuple[dict[str, NDArray[Any]], list[Entry]]:
    if not samples:
        raise DataError(f"no defect samples of {category} to make a bank of")
    shapes = {sample.image.shape for sample in samples}
    if len(shapes) > 1:
        sizes = ", ".join(sorted(f"{w}x{h}" for h, w, _ in shapes)[:3])
        raise DataError(f"a bank needs images of one size, found {sizes}; resize them to one")
    arrays: dict[str, NDArray[Any]] = {
        "images": np.stack([sample.image for sample in samples]),
        "masks": np.stack([sample.mask for sample in samples]),
        "appearance": np.stack([appearance(s.image if s.clean is None else s.clean) for s in samples]),
        "boxes": np.array([_box(sample.mask) for sample in samples], np.int32),
    }
    if any(sample.clean is not None for sample in samples):
        empty = np.zeros_like(samples[0].image)
        arrays["cleans"] = np.stack([empty if s.clean is None else s.clean for s in samples])
    entries = [Entry(s.defect, s.clean is not None, s.provenance.to_json()) for s in samples]
    return arrays, entries


def appearance(image: Pixels) -> NDArray[np.float32]:
    """Mean colour of a 4x4 grid, float32 [48], 0..1: what the nearest recorded object is found by."""
    grid: Pixels = cv2.resize(image, (4, 4), interpolation=cv2.INTER_AREA)
    return grid.reshape(-1).astype(np.float32) / np.float32(255)


def _box(mask: Pixels) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
    return y, x, y + height, x + width


def _digest(entries: Sequence[Entry], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps([[e.defect, e.provenance] for e in entries], sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()[:16]


def _write(path: Path, bank: Bank) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.mkdir(parents=True)
        for name, array in bank._arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        index = {
            "format": FORMAT, "category": bank.category, "digest": bank.digest,
            "entries": [asdict(entry) for entry in bank.entries],
        }  # fmt: skip
        (partial / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
        if path.exists():
            path.rmdir()
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; choose another --output") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
