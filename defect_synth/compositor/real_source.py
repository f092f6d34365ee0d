"""The user's own defect images as a source, for banks of real defects."""

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
from defect_synth.files import open_file
from defect_synth.samples import DefectSample, Provenance, content_digest

LARGEST = 1024  # default limit of the side: a bank of 100 such defects takes 700 MB


class RealSource:
    """A `FiniteSource` of real defect images with masks; seeds number the images of each defect from 0.

    Args:
        category: Object category.
        arrays: Images and masks of each defect.

    Raises:
        DataError: There are no defect images.
    """

    def __init__(self, category: str, arrays: dict[str, ImageArrays]) -> None:
        self.category = category
        self._arrays = {name: arrays[name] for name in sorted(arrays) if len(arrays[name])}
        if not self._arrays:
            raise DataError(f"{category} has no defect images with masks")
        self.defects = tuple(self._arrays)

    @classmethod
    def open(cls, data: Path, category: str | None = None, resolution: int | None = None) -> RealSource:
        """Read all defects of a data folder and fit them to squares.

        Args:
            data: A folder or file in one of the layouts that `layouts.index` reads.
            category: Which category, if `data` is a folder of categories.
            resolution: Side of the squares in pixels; None: the longest side of the images, at most 1024.

        Raises:
            DataError: Nothing usable is there.
        """
        table = index(data, category)
        records = {d: [r for r in table.records if r.defect == d and r.mask is not None] for d in table.defects}
        side = resolution or min(LARGEST, _longest([r for rs in records.values() for r in rs]))
        return cls(table.category, {d: load(rs, side, "letterbox") for d, rs in records.items() if rs})

    @classmethod
    def of_partition(cls, table: Table, partition: Partition, resolution: int) -> RealSource:
        """Read the base set of a partition only, so that nothing is used that a benchmark tests on."""
        return cls(
            table.category,
            {d: load(partition.records(table, "base", d), resolution, "letterbox") for d in sorted(partition.defects)},
        )

    @cached_property
    def digest(self) -> str:
        """Identifies the images and masks; file names do not matter."""
        parts = [f"{name} {arrays.digest}" for name, arrays in self._arrays.items()]
        return content_digest("\n".join(["real", self.category, *parts]), [])

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The numbers of the images of one defect.

        Raises:
            UnknownDefectError: There is no such defect.
        """
        if defect not in self._arrays:
            raise UnknownDefectError(defect, self.category, self.defects)
        return tuple(range(len(self._arrays[defect])))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """The images with these numbers, in order.

        Raises:
            UnknownDefectError: There is no such defect.
            DataError: There is no image with this number.
        """
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
    """The longest side of any image in pixels, from the file headers."""
    sides = [1]
    for record in records:
        try:
            with open_file(record.image) as file, Image.open(file) as image:
                sides.append(max(image.size))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, DataError):
            continue  # `load` reports it
    return max(sides)
