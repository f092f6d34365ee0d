"""Make banks from samples, in memory or on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from defect_synth.atomic import output_errors, replacing_folder, require_free_folder
from defect_synth.compositor.bank.bank import Bank
from defect_synth.compositor.bank.row import digest_start, digested, provenance_line, row
from defect_synth.compositor.bank.writer import BankWriter
from defect_synth.compositor.quality_check import QualityLimits, RejectionReport
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.names import require_name
from defect_synth.samples import DefectSample, DefectSource, FiniteSource, available_seeds

_CHUNK = 16  # samples drawn at a time; no more are held in memory
_TRIES = 20  # samples drawn at most per entry


def bank_from_samples(category: str, samples: Sequence[DefectSample], digest: str = "") -> Bank:
    """Make a bank in memory.

    Args:
        category: Object category.
        samples: At least one; images may have any sizes.
        digest: Identifies the samples; empty: it is computed from their pixels and provenance.

    Raises:
        DataError: There are no samples.
    """
    if not samples:
        raise DataError(f"no defect samples of {category} to make a bank of")
    names: list[str] = []
    rows = [row(sample, names) for sample in samples]
    if any("cleans" in known for known in rows):
        rows = [{"cleans": np.zeros_like(known["images"]), **known} for known in rows]
    arrays: dict[str, NDArray[Any]] = {name: np.concatenate([known[name] for known in rows]) for name in rows[0]}
    if not digest:
        found = digest_start(names)
        found.update("".join(provenance_line(sample) for sample in samples).encode())
        for name in digested(arrays, len({sample.mask.shape for sample in samples})):
            found.update(arrays[name].data)
        digest = found.hexdigest()[:16]
    return Bank(category, names, arrays, digest, None, [sample.provenance.to_json() for sample in samples])


def require_buildable(path: Path, count: int) -> None:
    """Check the arguments of `build_bank` before a source is opened, which may take seconds.

    Raises:
        ConfigError: `count` is below 1.
        OutputError: `path` is a file or a folder that is not empty.
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
    limits: QualityLimits | Mapping[str, QualityLimits] | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Bank, RejectionReport]:
    """Write a bank of samples that pass the quality check, completely or not at all.

    Samples are written as they are drawn, to a hidden folder beside `path` that is renamed at the end.

    Args:
        source: Any source. Samples of a finite source are used up to the last one.
        path: Folder of the bank, which must not exist or be empty.
        count: Entries per defect.
        defects: Defect categories; None: all of the source.
        limits: Limits of the quality check, for all defects or by defect; None: the defaults.
        seed: Seed of the first sample. A rejected sample is replaced by that of the next seed.
        progress: Called with (entries written, entries wanted).

    Returns:
        The bank and the report of the quality check.

    Raises:
        ConfigError: `count` is below 1.
        UnknownDefectError: One of `defects` is not in the source.
        OutputError: `path` is taken or cannot be written.
        DataError: Every sample was rejected.
    """
    require_buildable(path, count)
    require_name(source.category, "the source")
    chosen = tuple(source.defects if defects is None else dict.fromkeys(defects))
    for defect in chosen:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, tuple(source.defects))
    report = RejectionReport()
    with replacing_folder(path) as folder, contextlib.closing(BankWriter(folder, source.category)) as writer:
        for defect in chosen:
            own = limits if isinstance(limits, QualityLimits) else (limits or {}).get(defect, QualityLimits())
            wanted = len(writer) + count
            for sample in _accepted(source, defect, count, own, seed, report):
                with output_errors(path):
                    writer.add(sample)
                if progress is not None:
                    progress(len(writer), count * len(chosen))
            if progress is not None and len(writer) < wanted:  # a small finite source, or strict limits
                progress(len(writer), count * len(chosen))
        if not len(writer):
            raise DataError(
                f"the quality check rejected every sample ({report.summary()}); look at the samples, or train longer"
            )
        with output_errors(path):
            writer.finish()
    return Bank.open(path), report


def _accepted(
    source: DefectSource, defect: str, count: int, limits: QualityLimits, seed: int, report: RejectionReport
) -> Iterator[DefectSample]:
    """Up to `count` samples of one defect that pass the check."""
    accepted = 0
    most = count * _TRIES if not isinstance(source, FiniteSource) else len(source.seeds(defect))
    seeds = available_seeds(source, defect, most, seed)
    for start in range(0, len(seeds), _CHUNK):
        for sample in source.sample(defect, seeds[start : start + _CHUNK]):
            if report.add(limits.reject(sample), defect) and accepted < count:
                accepted += 1
                yield sample
        if accepted >= count:
            break
