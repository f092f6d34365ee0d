"""Samples -> a bank, in memory or on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defect_synth.atomic import output_errors, replacing_folder, require_free_folder
from defect_synth.compositor.bank.bank import Bank
from defect_synth.compositor.bank.row import digest_start, provenance_line, require_size, row
from defect_synth.compositor.bank.writer import Writer
from defect_synth.compositor.gates import GateReport, Gates
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource, FiniteSource

_CHUNK = 16  # drawn at a time, and all that is held in memory
_TRIES = 20  # samples drawn for each one that is kept, at most


def record(category: str, samples: Sequence[DefectSample], digest: str = "") -> Bank:
    """A bank in memory.

    Raises:
        DataError: No samples, or images of several sizes.
    """
    if not samples:
        raise DataError(f"no defect samples of {category} to make a bank of")
    for sample in samples:
        require_size(sample, samples[0].image.shape)
    names: list[str] = []
    rows = [row(sample, names) for sample in samples]
    empty = np.zeros_like(samples[0].image)
    columns = sorted(set().union(*rows))
    arrays: dict[str, NDArray[Any]] = {name: np.stack([known.get(name, empty) for known in rows]) for name in columns}
    if not digest:
        found = digest_start(names)
        found.update("".join(provenance_line(sample) for sample in samples).encode())
        for name in columns:
            found.update(arrays[name].data)
        digest = found.hexdigest()[:16]
    return Bank(category, names, arrays, digest, None, [sample.provenance.to_json() for sample in samples])


def require_buildable(path: Path, count: int) -> None:
    """What can be refused before a source is opened, which may take seconds.

    Raises:
        ConfigError: `count` is below 1.
        OutputError: `path` is taken.
    """
    if count < 1:
        raise ConfigError(f"count must be 1 or more, got {count}")
    require_free_folder(path)


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

    Samples go to a folder beside `path` as they are drawn, which takes its name at the end.

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
    require_buildable(path, count)
    chosen = tuple(source.defects if defects is None else dict.fromkeys(defects))
    for defect in chosen:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, tuple(source.defects))
    report = GateReport()
    with replacing_folder(path) as folder, contextlib.closing(Writer(folder, source.category)) as writer:
        for defect in chosen:
            limits = gates if isinstance(gates, Gates) else (gates or {}).get(defect, Gates())
            wanted = len(writer) + count
            for sample in _accepted(source, defect, count, limits, seed, report):
                with output_errors(path):
                    writer.add(sample)
                if progress is not None:
                    progress(len(writer), count * len(chosen))
            if progress is not None and len(writer) < wanted:  # a finite source, or strict gates
                progress(len(writer), count * len(chosen))
        if not len(writer):
            raise DataError(
                f"the gates rejected every sample ({report.summary()}); look at the samples, or train longer"
            )
        with output_errors(path):
            writer.finish()
    return Bank.open(path), report


def _accepted(
    source: DefectSource, defect: str, count: int, gates: Gates, seed: int, report: GateReport
) -> Iterator[DefectSample]:
    kept = 0
    seeds = source.seeds(defect) if isinstance(source, FiniteSource) else range(seed, seed + count * _TRIES)
    for start in range(0, len(seeds), _CHUNK):
        for sample in source.sample(defect, seeds[start : start + _CHUNK]):
            if report.add(gates.reject(sample), defect) and kept < count:
                kept += 1
                yield sample
        if kept >= count:
            break
