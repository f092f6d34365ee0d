"""The user's own defect images as a source: what careful copy-and-paste is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from defect_synth.data.layouts import index
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Record, Table
from defect_synth.data.store import ImageArrays, load
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, Provenance, content_digest

LARGEST = 1024  # of a side that nobody asked for: a bank of 100 such defects takes 700 MB


class RealSource:
    """Real defect images with masks; the seeds are their numbers in the table.

    Args:
        category: Object category.
        arrays: Images and masks of each defect.
    """

    def __init__(self, category: str, arrays: dict[str, ImageArrays]) -> None:
        self.category = category
        self._arrays = {name: arrays[name] for name in sorted(arrays) if len(arrays[name])}
        if not self._arrays:
            raise DataError(f"{category} has no defect images with masks to learn from")
        self.defects = tuple(self._arrays)

    @classmethod
    def open(cls, data: Path, category: str | None = None, resolution: int | None = None) -> RealSource:
        """All defects of a data folder, as squares.

        Args:
            data: What `layouts.index` reads.
            category: Which category of a folder of categories.
            resolution: Side of the squares; None: the longest side of the images, at most 1024.

        Raises:
            DataError: Nothing usable there.
        """
        table = index(data, category)
        records = {d: [r for r in table.records if r.defect == d and r.mask is not None] for d in table.defects}
        side = resolution or min(LARGEST, _longest([r for rs in records.values() for r in rs]))
        return cls(table.category, {d: load(rs, side, "letterbox") for d, rs in records.items() if rs})

    @classmethod
    def of_partition(cls, table: Table, partition: Partition, resolution: int) -> RealSource:
        """The base set of a partition only: nothing that a benchmark tests on."""
        return cls(
            table.category,
            {d: load(partition.records(table, "base", d), resolution, "letterbox") for d in sorted(partition.defects)},
        )

    @cached_property
    def digest(self) -> str:
        """Identifies the images and masks, whatever their file names."""
        parts = [f"{name} {arrays.digest}" for name, arrays in self._arrays.items()]
        return content_digest("\n".join(["real", self.category, *parts]), [])

    def seeds(self, defect: str) -> tuple[int, ...]:
        """Every number that exists."""
        if defect not in self._arrays:
            raise UnknownDefectError(defect, self.category, self.defects)
        return tuple(range(len(self._arrays[defect])))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """The images with these numbers."""
        known = self.seeds(defect)
        arrays = self._arrays[defect]
        for seed in seeds:
            if seed not in known:
                raise DataError(f"{self.category} has {len(known)} images of {defect!r}, none has number {seed}")
        return [
            DefectSample(
                np.ascontiguousarray(arrays.images[k]), (arrays.masks[k] > 0).astype(np.uint8), defect,
                Provenance("real", self.category, defect, k, "", {"file": arrays.names[k]}),
            )
            for k in seeds
        ]  # fmt: skip


def _longest(records: Sequence[Record]) -> int:
    """The longest side of any image; reads no pixels."""
    sides = [1]
    for record in records:
        try:
            with Image.open(record.image) as image:
                sides.append(max(image.size))
        except (OSError, UnidentifiedImageError):
            continue  # `load` names it
    return max(sides)
