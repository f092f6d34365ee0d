"""`Bank`: an open bank of recorded defects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.bank.reading import INDEX, damaged, read_arrays, read_index, read_provenance
from defect_synth.compositor.bank.row import tight_box
from defect_synth.compositor.recorded_defect import RecordedDefect
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.names import require_name
from defect_synth.samples import DefectSample, Pixels, Provenance


@dataclass(frozen=True)
class Entry:
    """Everything about one recorded defect but its pixels."""

    defect: str
    has_clean: bool
    provenance: dict[str, Any]


class Bank:
    """Recorded defects of one object category; a `FiniteSource` whose seeds are the numbers of the entries.

    A bank on disk is pickled as its path, so that workers map the same memory.

    Args:
        category: Object category.
        names: Defect categories; an entry's label is an index into them.
        arrays: Arrays by name, see `reading.read_arrays` and docs/formats.md; `cleans` may be absent.
        digest: Identifies all entries.
        path: Folder of the bank, or None for a bank in memory.
        provenance: Provenance of each entry; None: it is read from the folder.

    Attributes:
        category: Object category.
        digest: Identifies the pixels and the provenance of all entries.
        appearance: float32 [N, 48], 0..1: mean colours of a 4x4 grid over the clean image, or over the defect image of
            entries without a clean image.
        shapes: int32 [N, 2]: height and width of each entry.
    """

    def __init__(
        self,
        category: str,
        names: Sequence[str],
        arrays: dict[str, NDArray[Any]],
        digest: str,
        path: Path | None,
        provenance: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        self.category, self.digest, self.path = require_name(category, path or ""), digest, path
        self._names, self._arrays, self._provenance = tuple(names), arrays, provenance
        self.appearance: NDArray[np.float32] = arrays["appearance"]
        self.shapes: NDArray[np.int32] = arrays["shapes"]
        self._ends = np.cumsum(np.prod(self.shapes, axis=1, dtype=np.int64))  # of the pixels of each entry
        self._examined: set[int] = set()  # numbers of entries whose pixels have been looked at

    @classmethod
    def open(cls, path: str | Path) -> Bank:
        """Open a bank on disk in constant time: its index is read, and its arrays are memory-mapped.

        Raises:
            DataError: `path` is not a bank, has another format, or is damaged.
            InvalidNameError: The category or a defect is no name.
        """
        path = Path(path)
        if not (path / INDEX).is_file():
            raise DataError(f"{path} is not a bank (no {INDEX}); make one with `defect-synth bank RUN -o {path}`")
        index = read_index(path)
        return cls(index.category, index.defects, read_arrays(path, index), index.digest, path)

    def __len__(self) -> int:
        return len(self.appearance)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.path is not None:
            return Bank.open, (str(self.path),)
        return Bank, (self.category, self._names, self._arrays, self.digest, None, self._provenance)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """All entries in order, without pixels. They are read on first use, since pasting does not need them.

        Raises:
            DataError: The bank is damaged.
        """
        provenance = self._provenance
        if provenance is None:
            assert self.path is not None
            provenance = read_provenance(self.path, len(self))
        labels, paired = self._arrays["labels"], self._arrays["paired"]
        return tuple(
            Entry(self._names[label], bool(pair), known)
            for label, pair, known in zip(labels, paired, provenance, strict=True)
        )

    @cached_property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(sorted(self._names))

    @cached_property
    def _numbers(self) -> dict[str, NDArray[np.intp]]:
        labels = np.asarray(self._arrays["labels"])
        return {name: np.flatnonzero(labels == label) for label, name in enumerate(self._names)}

    def indices(self, defect: str) -> NDArray[np.intp]:
        """Numbers of the entries of one defect, ascending.

        Raises:
            UnknownDefectError: The bank has no such defect.
        """
        if defect not in self._numbers:
            raise UnknownDefectError(defect, self.category, self.defects)
        return self._numbers[defect]

    def read(self, number: int) -> RecordedDefect:
        """The pixels of one entry, as views of the arrays; read-only if the bank is on disk.

        Raises:
            DataError: The mask or its box is damaged.
        """
        if number not in self._examined:
            mask = self._pixels("masks", number)
            if int(mask.max()) > 1 or tight_box(mask) != self.box(number):
                raise damaged(self.path, f"the mask of entry {number} is not one of 0 and 1, or not in its box")
            self._examined.add(number)
        clean = self._pixels("cleans", number, 3) if self._arrays["paired"][number] else None
        return RecordedDefect(clean, self._pixels("images", number, 3), self._pixels("masks", number))

    def _pixels(self, name: str, number: int, *channels: int) -> Pixels:
        """One picture of a flat array, as a view: uint8 [H, W, channels], or [H, W] without channels."""
        height, width = map(int, self.shapes[number])
        end, area = int(self._ends[number]), height * width
        values = 1 if not channels else channels[0]
        return self._arrays[name][(end - area) * values : end * values].reshape(height, width, *channels)

    def box(self, number: int) -> tuple[int, int, int, int]:
        """Tight box (y0, x0, y1, x1) of the mask of one entry."""
        y0, x0, y1, x1 = (int(v) for v in self._arrays["boxes"][number])
        return y0, x0, y1, x1

    def recorded_samples(self) -> Iterator[DefectSample]:
        """All entries in order, as samples with their original provenance.

        Raises:
            DataError: The bank is damaged.
        """
        for number, entry in enumerate(self.entries):
            yield self._sample(number, entry.defect, Provenance.from_json(entry.provenance))

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The numbers of the entries of one defect, ascending.

        Raises:
            UnknownDefectError: The bank has no such defect.
        """
        return tuple(self.indices(defect).tolist())

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """The entries with these numbers, in order.

        Their provenance names this bank and the number; `recorded_method`, `recorded_seed` and `recorded_checkpoint`
        among its parameters say how the entry was made.

        Raises:
            UnknownDefectError: The bank has no such defect.
            DataError: A number that is not an entry of this defect, or a damaged bank.
        """
        known = set(self.seeds(defect))
        samples = []
        for seed in seeds:
            if seed not in known:
                raise DataError(
                    f"the bank of {self.category} has no entry {seed} of {defect!r}: take numbers from "
                    f".seeds({defect!r}), {len(known)} from {min(known)} to {max(known)}"
                )
            made = self.entries[seed].provenance
            origin = {f"recorded_{name}": made[name] for name in ("method", "seed", "checkpoint") if name in made}
            samples.append(
                self._sample(seed, defect, Provenance("bank", self.category, defect, seed, self.digest, origin))
            )
        return samples

    def _sample(self, number: int, defect: str, provenance: Provenance) -> DefectSample:
        clean, image, mask = self.read(number)
        copied = None if clean is None else np.array(clean)
        return DefectSample(np.array(image), np.array(mask), defect, provenance, copied)
