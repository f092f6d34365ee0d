"""What an arm may learn from in one partition: everything but the test images."""

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
from defect_synth.samples import DefectSource, FiniteSource, Pixels

_LONGEST_SIDE = 2048  # pixels, as in the painter's training
_MAX_PIXELS = 2**26  # of good images in their original size, kept in memory
_MAX_IMAGES = 128


class ArmNotPossible(Exception):  # noqa: N818 - not a mistake: the report says why the arm is missing
    """An arm cannot run on this partition, or would equal another arm; the text says why."""


@dataclass(frozen=True, eq=False)
class PartitionContext:
    """The images of one partition that may be learnt from. It holds no test image and no path to one.

    Attributes:
        category: Object category.
        partition: Name of the partition.
        table: Records of base, validation and good training images.
        split: The partition of that table; its test parts are empty.
        base: Real training images with masks.
        validation: Real images that models are chosen on, or None.
        resolution: Side of the square images in pixels.
        how: How images of other aspect ratios are made square.
        procedural: Whether the images are the embedded product's, so that new real ones can be drawn.
        folder: Where trained generators are written.
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
        """Defect-free images held out from training, or None."""
        records = self.split.records(self.table, "validation", None)
        return load(records, self.resolution, self.how) if records else None

    @cached_property
    def good_full_size(self) -> list[Pixels]:
        """Defect-free training images in their original size, uint8 [H, W, 3] each.

        If not all of them fit into memory, a subset that is spread evenly.
        """
        records = self.split.records(self.table, "base", None)
        if not records:
            raise DataError(f"{self.table.root} has no defect-free training images")
        first, _ = read_limited(records[0], _LONGEST_SIDE)
        count = min(len(records), _MAX_IMAGES, max(8, _MAX_PIXELS // (first.shape[0] * first.shape[1])))
        others = [records[i * len(records) // count] for i in range(1, count)]
        return [first, *(read_limited(record, _LONGEST_SIDE)[0] for record in others)]

    def full_size(self, defect: str) -> list[tuple[Pixels, Pixels]]:
        """Base images of a defect in their original size, uint8 [H, W, 3], with their masks, uint8 [H, W]."""
        return [read_limited(record, _LONGEST_SIDE) for record in self.split.records(self.table, "base", defect)]

    def of(self, defect: str) -> tuple[Pixels, Pixels]:
        """Base images of a defect, uint8 [N, R, R, 3], and their masks, uint8 [N, R, R]."""
        chosen = self.base.labels == self.base.classes.index(defect)
        assert self.base.masks is not None
        return np.ascontiguousarray(self.base.images[chosen]), np.ascontiguousarray(self.base.masks[chosen])

    def smallest_defect(self) -> tuple[str, int]:
        """The defect with the fewest base images, and their number."""
        counts = {defect: len(self.split.defects[defect].base) for defect in self.defects}
        defect = min(counts, key=lambda name: counts[name])
        return defect, counts[defect]

    def dfmgan(self) -> DefectSource:
        """The DFMGAN of this partition, trained or opened once.

        Raises:
            ArmNotPossible: A defect has fewer than two base images.
        """
        self._require_two("DFMGAN's discriminators")
        return self._once("dfmgan", self.make_dfmgan)

    def painter(self) -> DefectSource:
        """The painter of this partition on its good training images, trained or opened once."""
        return self._once("painter", self.make_painter)

    def system(self, name: str) -> DefectSource:
        """Another system of the paper's tables, trained or opened once.

        Raises:
            ArmNotPossible: A defect has fewer than two base images.
        """
        self._require_two(f"the networks of {name}")
        return self._once(name, lambda context: self.make_system(context, name))

    def _require_two(self, whose: str) -> None:
        defect, count = self.smallest_defect()
        if count < 2:
            raise ArmNotPossible(f"{whose} need 2 base images of each defect; {defect} has {count}")

    def _once(self, name: str, make: Callable[[PartitionContext], DefectSource]) -> DefectSource:
        if name not in self._made:
            self._made[name] = make(self)
        return self._made[name]


def seeds_of(source: DefectSource, defect: str, count: int) -> Sequence[int]:
    """The first `count` seeds of a defect, or all of them if the source has fewer."""
    return source.seeds(defect)[:count] if isinstance(source, FiniteSource) else range(count)
