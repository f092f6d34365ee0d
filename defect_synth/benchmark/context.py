"""What an arm may know of a partition: everything but the test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.square import read_limited
from defect_synth.data.store import ImageArrays, load
from defect_synth.errors import DataError
from defect_synth.samples import DefectSource, Pixels

_LONGEST = 2048  # pixels: as for the painter's training
_PIXELS = 2**26  # of good images in their own size that are kept in memory
_MOST = 128


class ArmNotPossible(Exception):  # noqa: N818 - not a fault: the report says why the arm is missing
    """An arm cannot run on this partition, or would equal another one; the text says why."""


@dataclass(frozen=True, eq=False)
class PartitionContext:
    """The learnable part of one partition. There is no test image in here, nor a path to one.

    Attributes:
        category: Object category.
        partition: Its name.
        table: Records of base, validation and good training images.
        split: The partition of that table; its test parts are empty.
        base: Real training images with masks.
        validation: Real images to choose by, or None.
        resolution: Side of the square images.
        how: How other aspects become square.
        procedural: Whether the images are the embedded product's, of which new ones can be drawn.
        folder: Where trained generators go.
        make_dfmgan: Trains or opens the DFMGAN of this partition.
        make_painter: Trains or opens the painter of this partition.
        make_system: Trains or opens another system, by its name in the paper's tables.
        textures: Folder of textures for Perlin defects, or None.
    """

    category: str
    partition: str
    table: Table
    split: Partition
    base: LabelledArrays
    validation: LabelledArrays | None
    resolution: int
    how: Literal["letterbox", "crop"]
    procedural: bool
    folder: Path
    make_dfmgan: Callable[[PartitionContext], DefectSource]
    make_painter: Callable[[PartitionContext], DefectSource]
    make_system: Callable[[PartitionContext, str], DefectSource]
    textures: Path | None = None
    _made: dict[str, DefectSource] = field(default_factory=dict)

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(sorted(self.split.defects))

    @cached_property
    def good(self) -> ImageArrays:
        """Defect-free training images."""
        records = self.split.records(self.table, "base", None)
        if not records:
            raise DataError(f"{self.table.root} has no defect-free training images")
        return load(records, self.resolution, self.how)

    @cached_property
    def good_validation(self) -> ImageArrays | None:
        """Defect-free images kept from training."""
        records = self.split.records(self.table, "validation", None)
        return load(records, self.resolution, self.how) if records else None

    @cached_property
    def good_in_full(self) -> list[Pixels]:
        """Defect-free training images in their own size, uint8 [H, W, 3]: as many as fit into memory, spread evenly."""
        records = self.split.records(self.table, "base", None)
        if not records:
            raise DataError(f"{self.table.root} has no defect-free training images")
        first, _ = read_limited(records[0], _LONGEST)
        count = min(len(records), _MOST, max(8, _PIXELS // (first.shape[0] * first.shape[1])))
        others = [records[i * len(records) // count] for i in range(1, count)]
        return [first, *(read_limited(record, _LONGEST)[0] for record in others)]

    def in_full(self, defect: str) -> list[tuple[Pixels, Pixels]]:
        """Base images of a defect in their own size, uint8 [H, W, 3], and their masks uint8 [H, W]."""
        return [read_limited(record, _LONGEST) for record in self.split.records(self.table, "base", defect)]

    def of(self, defect: str) -> tuple[Pixels, Pixels]:
        """Base images uint8 [N, R, R, 3] of a defect and their masks uint8 [N, R, R]."""
        chosen = self.base.labels == self.base.classes.index(defect)
        assert self.base.masks is not None
        return np.ascontiguousarray(self.base.images[chosen]), np.ascontiguousarray(self.base.masks[chosen])

    def smallest(self) -> tuple[str, int]:
        """The defect with the fewest base images, and how many it has."""
        counts = {defect: len(self.split.defects[defect].base) for defect in self.defects}
        defect = min(counts, key=lambda name: counts[name])
        return defect, counts[defect]

    def dfmgan(self) -> DefectSource:
        """The DFMGAN of this partition, made once.

        Raises:
            ArmNotPossible: Too few base images.
        """
        self._require_two("DFMGAN's discriminators")
        return self._once("dfmgan", self.make_dfmgan)

    def painter(self) -> DefectSource:
        """The painter of this partition, on its good training images, made once."""
        return self._once("painter", self.make_painter)

    def system(self, name: str) -> DefectSource:
        """Another trained system of the paper's tables, made once.

        Raises:
            ArmNotPossible: Too few base images.
        """
        self._require_two(f"the networks of {name}")
        return self._once(name, lambda context: self.make_system(context, name))

    def _require_two(self, whose: str) -> None:
        defect, count = self.smallest()
        if count < 2:
            raise ArmNotPossible(f"{whose} need 2 base images of each defect; {defect} has {count}")

    def _once(self, name: str, make: Callable[[PartitionContext], DefectSource]) -> DefectSource:
        if name not in self._made:
            self._made[name] = make(self)
        return self._made[name]


def seeds_of(source: DefectSource, defect: str, count: int) -> Sequence[int]:
    """The first `count` seeds of a defect; all of them where the source has fewer."""
    from defect_synth.samples import FiniteSource

    return source.seeds(defect)[:count] if isinstance(source, FiniteSource) else range(count)
