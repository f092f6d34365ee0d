"""`Table`: the common form of all layouts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from defect_synth.data.coco_mask import CocoMask
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.names import require_name

COMBINED = "combined"
"""Defect category of images that show several defects, as MVTec AD names it."""

GOOD_NAMES = ("good", "ok", "normal")


def is_good(name: str) -> bool:
    """Whether the name of a folder or the text of a table cell means defect-free."""
    return name.strip().lower() in GOOD_NAMES


@dataclass(frozen=True)
class Record:
    """One image.

    Attributes:
        image: Its file.
        mask: Its mask file, its COCO segmentation, or None.
        defect: Defect category; None for a defect-free image.
        split: `train` or `test` if the data set says so, otherwise empty.
        name: Path relative to the root of the table, with forward slashes: the same on every machine.
    """

    image: Path
    mask: Path | CocoMask | None
    defect: str | None
    split: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.image.name)


@dataclass(frozen=True)
class Table:
    """Every image of one object category.

    Attributes:
        root: Folder that the names of the records are relative to.
        layout: `mvtec`, `visa`, `folders`, `csv` or `coco`.
        category: Object category.
        records: Sorted by name.
        unused: Files that belong to no record, which `check` reports: masks without an image, folders without images,
            and files and folders with images that are not read.
        reasons: Why a file or folder is not read, where that is not plain from its kind.
    """

    root: Path
    layout: str
    category: str
    records: tuple[Record, ...]
    unused: tuple[Path, ...] = ()
    reasons: Mapping[Path, str] = field(default_factory=dict)

    @property
    def good(self) -> tuple[Record, ...]:
        """Records of good images for training: all but those of the test split."""
        return tuple(record for record in self.records if record.defect is None and record.split != "test")

    @property
    def good_test(self) -> tuple[Record, ...]:
        """Records of good images that are reserved for testing."""
        return tuple(record for record in self.records if record.defect is None and record.split == "test")

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(sorted({record.defect for record in self.records if record.defect is not None}))

    def of(self, defect: str) -> tuple[Record, ...]:
        """Records of the images of one defect.

        Raises:
            UnknownDefectError: There is no such defect.
        """
        found = tuple(record for record in self.records if record.defect == defect)
        if not found:
            raise UnknownDefectError(defect, self.category, self.defects)
        return found


@dataclass
class Draft:
    """A table that is being built; `good_home` and `mask_home` say where good images and masks are expected."""

    root: Path
    category: str
    good_home: str
    mask_home: str
    records: list[Record] = field(default_factory=list)
    offered: set[Path] = field(default_factory=set)
    unread: set[Path] = field(default_factory=set)
    reasons: dict[Path, str] = field(default_factory=dict)

    def leave_out(self, path: Path, reason: str) -> None:
        """Note a file or folder that is not read, and what to do about it."""
        self.unread.add(path)
        self.reasons[path] = reason

    def add(self, image: Path, mask: Path | CocoMask | None, defect: str | None, split: str = "") -> None:
        """Append one record; its name is relative to the root."""
        try:
            name = Path(os.path.relpath(image, self.root)).as_posix()  # relpath, because a CSV may point outside
        except ValueError:  # another drive on Windows
            name = image.as_posix()
        self.records.append(Record(image, mask, defect, split, name))

    def finish(self, layout: str) -> Table:
        """Check the records and return the table.

        Raises:
            DataError: There are no good images or no masks, an image is listed twice, or its file name
                is no Unicode.
            InvalidNameError: The category or a defect cannot name a folder.
        """
        defects = [record for record in self.records if record.defect is not None]
        if all(record.defect is not None or record.split == "test" for record in self.records):
            raise DataError(f"no good images for training in {self.root}; expected {self.good_home}")
        if defects and all(record.mask is None for record in defects):
            raise DataError(f"no masks for the {len(defects)} defect images in {self.root}; expected {self.mask_home}")
        require_name(self.category, self.root)
        for name in sorted({record.defect for record in defects if record.defect is not None}):
            require_name(name, self.root)
        records = sorted(self.records, key=lambda record: record.name)
        for before, after in pairwise(records):
            if before.name == after.name:
                raise DataError(f"{after.name} is listed twice in {self.root}; keep one entry for each image")
        for record in records:  # bytes that are no UTF-8 can stand in no JSON file, such as that of a partition
            if any("\ud800" <= character <= "\udfff" for character in record.name):
                raise DataError(f"{record.image}: its name is not Unicode; rename the file")
        unused = (self.offered - {record.mask for record in records}) | self.unread
        return Table(self.root, layout, self.category, tuple(records), tuple(sorted(unused)), self.reasons)
