"""The user's own defect images as a source: what careful copy-and-paste is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defect_synth.data.layouts import index
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.store import ImageArrays, load
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, Provenance


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
    def open(cls, data: Path, category: str | None = None, resolution: int = 256) -> RealSource:
        """All defects of a data folder.

        Raises:
            DataError: Nothing usable there.
        """
        table = index(data, category)
        records = {d: [r for r in table.records if r.defect == d and r.mask is not None] for d in table.defects}
        return cls(table.category, {d: load(rs, resolution, "letterbox") for d, rs in records.items() if rs})

    @classmethod
    def of_partition(cls, table: Table, partition: Partition, resolution: int) -> RealSource:
        """The base set of a partition only: nothing that a benchmark tests on."""
        return cls(
            table.category,
            {d: load(partition.records(table, "base", d), resolution, "letterbox") for d in sorted(partition.defects)},
        )

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
