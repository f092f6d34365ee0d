"""Partitions by name, with few shots, and the part of them that may be learnt from.

`P1` to `P3` are the three of the paper (Sec. 4.3, Duan et al. 2023); `R1`, `R2`, ... are further random ones, drawn in
the same way.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from defect_synth.data.partitions import PART_SEEDS, Partition, Parts, split
from defect_synth.data.records import Table
from defect_synth.errors import ConfigError

_RANDOM = re.compile(r"R([1-9]\d{0,5})")
_RANDOM_SEED = 1000  # the seed of R1 is 1001: far from those of P1 to P3
Shots = int | Literal["all"]


def make_partition(table: Table, name: str, validation_fraction: float, shots: Shots) -> tuple[Table, Partition]:
    """One partition, and the table without the images that `shots` leaves unused.

    A third of the images of each defect are the base set, the rest are the test set. With `shots`, only that many base
    images of each defect remain, validation images included. The test set stays the same, and a smaller number of shots
    is a subset of a larger one.

    Args:
        table: All images of the category.
        name: `P1` to `P3`, or `R1`, `R2`, ....
        validation_fraction: Share of the base set that models are chosen on.
        shots: Base images of each defect, or `all`.

    Raises:
        ConfigError: There is no such partition, or there are fewer base images than shots.
    """
    found = _RANDOM.fullmatch(name)
    if found is None and name not in PART_SEEDS:
        raise ConfigError(f"unknown partition {name!r}; known: {', '.join(PART_SEEDS)}, R1, R2, ... (random ones)")
    whole = split(table, name if found is None else "P1", validation_fraction)
    if found is not None:
        seed = _RANDOM_SEED + int(found[1])
        whole = Partition(
            name=name,
            seed=seed,
            category=table.category,
            defects={defect: _random(table, defect, seed, validation_fraction) for defect in table.defects},
            good=whole.good,
        )
    if shots == "all":
        return table, whole
    if shots < 1:
        raise ConfigError(f"shots must be 1 or more, or all, got {shots}")
    few = {
        defect: _few(parts, defect, whole.seed, validation_fraction, shots) for defect, parts in whole.defects.items()
    }
    used = {name for parts in (*few.values(), whole.good) for name in (*parts.base, *parts.validation, *parts.test)}
    records = tuple(record for record in table.records if record.name in used)
    return replace(table, records=records), whole.model_copy(update=dict(defects=few))


def learnable(table: Table, partition: Partition) -> tuple[Table, Partition]:
    """Table and partition without any test image: all that generators get."""
    bare = {defect: parts.model_copy(update=dict(test=())) for defect, parts in partition.defects.items()}
    good = partition.good.model_copy(update=dict(test=()))
    known = {name for parts in (*bare.values(), good) for name in (*parts.base, *parts.validation)}
    records = tuple(record for record in table.records if record.name in known)
    return replace(table, records=records), partition.model_copy(update=dict(defects=bare, good=good))


def _random(table: Table, defect: str, seed: int, fraction: float) -> Parts:
    names = _drawn([record.name for record in table.of(defect)], seed, defect)
    size = max(1, len(names) // 3)
    spare = _validation_count(size, fraction)
    return Parts(
        base=tuple(sorted(names[: size - spare])),
        validation=tuple(sorted(names[size - spare : size])),
        test=tuple(sorted(names[size:])),
    )


def _few(parts: Parts, defect: str, seed: int, fraction: float, shots: int) -> Parts:
    have = len(parts.base) + len(parts.validation)
    if have < shots:
        raise ConfigError(f"shots {shots} is more than the {have} base images of {defect}; use fewer, or all")
    spare = min(_validation_count(shots, fraction), len(parts.validation))
    base = _drawn(parts.base, seed, f"{defect}/shots")[: shots - spare]
    if len(base) < shots - spare:  # the validation part is large
        spare = shots - len(base)
    validation = _drawn(parts.validation, seed, f"{defect}/shots")[:spare]
    return parts.model_copy(update=dict(base=tuple(sorted(base)), validation=tuple(sorted(validation))))


def _validation_count(size: int, fraction: float) -> int:
    """As in `partitions.split`: at least one of five or more, and at least two remain for training."""
    count = max(round(fraction * size), 1 if size >= 5 else 0) if fraction > 0 else 0
    return max(0, min(count, size - 2))


def _drawn(names: Sequence[str], seed: int, kind: str) -> list[str]:
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
    ordered = sorted(names)
    return [ordered[i] for i in np.argsort(rng.random(len(ordered)), kind="stable")]
