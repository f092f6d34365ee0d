"""Split images into those for training, for choosing snapshots and for testing (Sec. 4.3, Duan et al. 2023)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from defect_synth.atomic import replacing
from defect_synth.config import Frozen, Name
from defect_synth.data.records import Record, Table
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.files import MOST_JSON, read_text
from defect_synth.names import names_in

PART_SEEDS: dict[str, int] = {"P1": 1, "P2": 2, "P3": 3}
"""The three partitions of Table 2. The paper does not say which images they are; these seeds are ours."""

_MAX_GOOD_VALIDATION = 20

Part = Literal["base", "validation", "test"]


class Parts(Frozen):
    """Names of the images of one defect, or of the good ones, sorted; each name is in one part.

    Attributes:
        base: Models are trained on these.
        validation: Snapshots are chosen by these; never trained on.
        test: Used for the final figures only.
    """

    base: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class Partition(Frozen):
    """The parts of all images of one category.

    Attributes:
        name: `P1`, `P2`, `P3` or `everything`.
        seed: Seed of the split.
        category: Object category.
        defects: Defect -> its parts.
        good: Parts of the good images; the test part is that of the data set itself.
    """

    name: str
    seed: int = Field(ge=0, lt=2**63)
    category: Name
    defects: Mapping[Name, Parts]
    good: Parts

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        seen: set[str] = set()
        for name in self._names():
            if name in seen:
                raise ValueError(f"{name} is in two parts")
            seen.add(name)
        return self

    def _names(self) -> Iterator[str]:
        for parts in chain(self.defects.values(), [self.good]):
            yield from chain(parts.base, parts.validation, parts.test)

    def records(self, table: Table, part: Part, defect: str | None) -> tuple[Record, ...]:
        """The records of one part.

        Args:
            table: The table that this partition was made from.
            part: `base`, `validation` or `test`.
            defect: A defect, or None for the good images.

        Raises:
            DataError: The table has other images than before.
            UnknownDefectError: There is no such defect.
        """
        self.require_match(table)
        if defect is not None and defect not in self.defects:
            raise UnknownDefectError(defect, self.category, tuple(sorted(self.defects)))
        parts = self.good if defect is None else self.defects[defect]
        by_name = {record.name: record for record in table.records}
        return tuple(by_name[name] for name in getattr(parts, part))

    def require_match(self, table: Table) -> None:
        """Check that a table has exactly the images of this partition.

        Raises:
            DataError: Images are gone, were added, or have another defect. The message names them.
        """
        kinds = {name: None for name in chain(self.good.base, self.good.validation, self.good.test)} | {
            name: defect
            for defect, parts in self.defects.items()
            for name in chain(parts.base, parts.validation, parts.test)
        }
        now = {record.name: record.defect for record in table.records}
        changes = {
            "gone": [name for name in kinds if name not in now],
            "added": [name for name in now if name not in kinds],
            "with another defect": [name for name in kinds if name in now and now[name] != kinds[name]],
        }
        found = [f"{len(names)} {what} ({_some(names)})" for what, names in changes.items() if names]
        if found:
            raise DataError(
                f"partition {self.name} does not fit the images in {table.root}: {', '.join(found)}; "
                "restore them or make the partition anew"
            )

    def save(self, path: str | Path) -> None:
        """Write as JSON, completely or not at all.

        Raises:
            OutputError: The file cannot be written.
        """
        with replacing(Path(path)) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Partition:
        """Read a file that `save` wrote.

        Raises:
            DataError: The file is missing, is not a partition, or has an image in two parts.
            InvalidNameError: The category or a defect is no name.
        """
        try:
            text = read_text(Path(path), MOST_JSON)
        except DataError as error:
            raise DataError(f"cannot read the partition {error}; make it anew") from None
        try:
            with names_in(path):
                return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(place) for place in first["loc"])
            what = first["msg"].removeprefix("Value error, ")
            raise DataError(
                f"{path} is no valid partition: {f'{where}: ' if where else ''}{what}; make it anew"
            ) from None


def split(table: Table, name: str, validation_fraction: float) -> Partition:
    """Split each defect into a third as base set and the rest as test set (Sec. 4.3); part of the base set validates.

    A third is rounded down, as in the paper, where 17 or 18 hazelnuts of a defect give 5 or 6 base images and always 12
    test images, but at least one image is in the base set. The base set of a defect depends on the seed, the defect and
    its file names only, not on other defects or the validation fraction. The split of the data set itself is kept for
    good images and ignored for defects.

    Args:
        table: All images of the category.
        name: `P1`, `P2` or `P3`.
        validation_fraction: Share of the base set, and of the good training images (at most 20), for validation.

    Raises:
        ConfigError: There is no such partition, or the fraction is out of range.
    """
    if name not in PART_SEEDS:
        raise ConfigError(f"unknown partition {name!r}; known: {', '.join(PART_SEEDS)}")
    seed = PART_SEEDS[name]
    defects = {}
    for defect in table.defects:
        shuffled = _shuffled(table.of(defect), seed, defect)
        size = max(1, len(shuffled) // 3)
        defects[defect] = _parts(shuffled[:size], shuffled[size:], validation_fraction)
    return Partition(
        name=name, seed=seed, category=table.category, defects=defects, good=_good(table, seed, validation_fraction)
    )


def everything(table: Table, validation_fraction: float, seed: int) -> Partition:
    """Use all defect images for training, except for a validation part: for users who do not test here.

    Images marked as test are left out only if the data set has defect images for training, too, such as in a CSV table
    with a column split. MVTec AD and VisA have all their defect images in `test`.

    Args:
        table: All images of the category.
        validation_fraction: As for `split`.
        seed: Seed of the split.

    Raises:
        ConfigError: The fraction is out of range.
        DataError: All images of a defect are marked as test.
    """
    defects = {}
    user_split = any(record.split == "train" for record in table.records if record.defect is not None)
    for defect in table.defects:
        shuffled = _shuffled(table.of(defect), seed, defect)
        held = [record for record in shuffled if user_split and record.split == "test"]
        if len(held) == len(shuffled):
            raise DataError(f"all {len(held)} images of {defect} are marked test in {table.root}; mark some train")
        defects[defect] = _parts([r for r in shuffled if r not in held], held, validation_fraction)
    return Partition(
        name="everything",
        seed=seed,
        category=table.category,
        defects=defects,
        good=_good(table, seed, validation_fraction),
    )


def _shuffled(records: Sequence[Record], seed: int, kind: str) -> list[Record]:
    """Records in random order, which depends on the seed and on `kind` alone."""
    # Sorting uniform numbers: NumPy promises their stream more firmly than that of `permutation`. crc32 and not
    # hash(), which differs from process to process.
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    by_name = sorted(records, key=lambda record: record.name)
    return [by_name[i] for i in np.argsort(rng.random(len(by_name)), kind="stable")]


def _good(table: Table, seed: int, fraction: float) -> Parts:
    return _parts(_shuffled(table.good, seed, ""), table.good_test, fraction, _MAX_GOOD_VALIDATION)


def _parts(base: Sequence[Record], test: Sequence[Record], fraction: float, most: int | None = None) -> Parts:
    """Take the validation part from the end of `base`."""
    if not 0 <= fraction < 1:
        raise ConfigError(f"validation_fraction must be >= 0 and < 1, got {fraction}")
    count = 0
    if fraction > 0:
        count = max(round(fraction * len(base)), 1 if len(base) >= 5 else 0)
        count = max(0, min(count, len(base) - 2, len(base) if most is None else most))
    kept = len(base) - count
    names = [tuple(sorted(record.name for record in part)) for part in (base[:kept], base[kept:], test)]
    return Parts(base=names[0], validation=names[1], test=names[2])


def _some(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
