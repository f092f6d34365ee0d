"""Write the samples of a source as a folder in MVTec AD layout, which can be interrupted, continued and sharded."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defect_synth.atomic import output_errors, replacing, writing_alone, writing_together
from defect_synth.data.png import png_size, write_png
from defect_synth.errors import ConfigError, InvalidNameError, OutputError, UnknownDefectError
from defect_synth.export.contact_sheet import write_contact_sheet
from defect_synth.names import require_name
from defect_synth.samples import DefectSample, DefectSource, available_seeds, mask_to_pixels

log = logging.getLogger(__name__)

INDEX = "provenance.jsonl"
SHEET = "contact_sheet.png"
_CHUNK = 16  # samples between two writes to the journal
_JOURNALS = ".part-*.jsonl"

Line = dict[str, Any]
Progress = Callable[[int, int], None]
Key = tuple[str, int]
"""Defect category and seed of a sample."""


@dataclass(frozen=True)
class Shard:
    """The share of one of several machines in the samples: number `part` of `parts`, counted from 1."""

    part: int = 1
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse a text such as `2/8`.

        Raises:
            ConfigError: The text has another form, or there is no such part.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ConfigError(f"--shard must be PART/PARTS with PART from 1 to PARTS, such as 2/8; got {text!r}")
        return cls(int(found[1]), int(found[2]))


def generate(
    source: DefectSource,
    output: Path,
    *,
    count: int,
    defects: Sequence[str] | None = None,
    first_seed: int = 0,
    shard: Shard | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the samples of seeds first_seed, first_seed + 1, ... of each defect into `output/<category>`.

    The files are `test/<defect>/000000.png`, `ground_truth/<defect>/000000_mask.png` (0 and 255),
    `clean/<defect>/000000.png` for samples with a clean image, `provenance.jsonl` (the index) and `contact_sheet.png`.
    File numbers are seeds.

    Each process appends to a journal of its own. A sample is done once its line is in the index or in any journal and
    its files, which are written before, are whole. Calling the function again continues, and makes again what is
    missing or damaged. Shards draw disjoint parts of the samples, in any order, at the same time or not. The process
    that finds all samples done writes the index and the contact sheet and removes the journals, so that the folder has
    the same bytes as if a single process had written it.

    Args:
        source: Any defect source; a finite one gives at most the samples that it holds.
        output: The folder. Other files in it are not touched.
        count: Samples per defect.
        defects: Defect categories; None: all of the source.
        first_seed: Seed of the first sample.
        shard: The part of the samples to draw; None: all.
        progress: Called with (samples done, samples in all) of this part.

    Returns:
        The folder of the category, `output/<category>`.

    Raises:
        ConfigError: `count` or `first_seed` is out of range, or a finite source has no samples from there on.
        UnknownDefectError: One of `defects` is not in the source.
        OutputError: The folder cannot be written, contains samples of another source, or another process is writing it
            that is not a shard as well.
    """
    if count < 1 or first_seed < 0:
        raise ConfigError(f"count must be 1 or more and the first seed 0 or more, got {count} and {first_seed}")
    chosen = tuple(source.defects if defects is None else dict.fromkeys(defects))
    for defect in chosen:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, tuple(source.defects))
    root = output / require_name(source.category, "the source")
    part = shard or Shard()
    wanted = [(defect, seed) for defect in chosen for seed in available_seeds(source, defect, count, first_seed)]
    if not wanted:
        raise ConfigError(f"the source has no sample from seed {first_seed} on; choose a smaller --seed")

    def claim(alone: bool) -> None:
        _claim(root, source, alone)

    with contextlib.ExitStack() as held:
        if part.parts == 1:
            held.enter_context(writing_alone(root))
            claim(True)
        else:
            held.enter_context(writing_together(root, claim))
        _write(root, source, wanted, part, progress or _no_progress)
    return root


def _write(root: Path, source: DefectSource, wanted: Sequence[Key], part: Shard, progress: Progress) -> None:
    """Make the samples of one part that are not there, and complete the folder if all others are."""
    before = _read_all(root)
    if lost := _read_lines(root / INDEX).count(None):
        log.warning("%s: %d lines are damaged and left out; their samples are made again if asked for", root, lost)
    damaged = {key for key, line in before.items() if not _is_whole(root, line)}
    # What was written by earlier calls must be whole, too, since the contact sheet shows it.
    mine = [*wanted, *sorted(damaged - set(wanted))][part.part - 1 :: part.parts]
    todo = [key for key in mine if key not in before or key in damaged]
    elsewhere = damaged - set(todo)
    for keys, what in ((damaged - elsewhere, "they are made again"), (elsewhere, "other parts make them again")):
        if keys:
            log.warning("%s: files of %d samples are missing or damaged; %s", root, len(keys), what)
    total, finished = len(mine), len(mine) - len(todo)
    progress(finished, total)
    journal = root / f".part-{part.part}-of-{part.parts}.jsonl"
    _remove_torn_line(journal)
    try:
        for defect in dict.fromkeys(name for name, _ in todo):
            seeds = [seed for name, seed in todo if name == defect]
            for start in range(0, len(seeds), _CHUNK):
                samples = source.sample(defect, seeds[start : start + _CHUNK])
                _append(journal, [_write_sample(root, sample) for sample in samples])
                finished += len(samples)
                progress(finished, total)
    finally:
        # A process that works alone leaves an index of the samples so far when it is interrupted.
        lines = _read_all(root)
        complete = all(key in lines for key in wanted) and all(_is_whole(root, lines[key]) for key in elsewhere)
        if lines and (complete or part.parts == 1):
            _write_index(root / INDEX, lines.values())
    if complete:
        write_contact_sheet(root / SHEET, root, list(lines.values()))
        for done in root.glob(_JOURNALS):
            done.unlink(missing_ok=True)  # the index has all their lines


def _claim(root: Path, source: DefectSource, alone: bool) -> None:
    """Mark the folder with the digest of the source, if it has no mark and no samples.

    Args:
        root: The folder.
        source: Makes the samples.
        alone: No other process has claimed the folder and not yet written to it.

    Raises:
        OutputError: It contains samples of another source.
    """
    marker = root / ".source"
    with output_errors(marker):
        found = marker.read_bytes() if marker.is_file() else b""
    if found == source.digest.encode():
        return
    lines = _read_all(root)
    if lines or not alone:
        is_mark = re.fullmatch(rb"[^\x00-\x1f]{8,}", found) is not None and len(found) >= len(source.digest)
        if is_mark or not alone or not _can_make(source, next(iter(lines.values()))):
            raise OutputError(f"{root} contains samples of another source or other settings; choose another --output")
    with replacing(marker) as temporary:
        temporary.write_text(source.digest, encoding="utf-8")


def _can_make(source: DefectSource, line: Line) -> bool:
    """Whether a source makes the sample of a line; this is asked where the mark of the folder is lost."""
    if line["defect"] not in source.defects:
        return False
    (sample,) = source.sample(line["defect"], [line["seed"]])
    return _line(sample) == line


def _files(defect: str, seed: int, *, clean: bool) -> dict[str, str]:
    """Paths of the files of a sample, relative to the folder."""
    name = f"{seed:06d}"
    files = {"image": f"test/{defect}/{name}.png", "mask": f"ground_truth/{defect}/{name}_mask.png"}
    return files | ({"clean": f"clean/{defect}/{name}.png"} if clean else {})


def _line(sample: DefectSample) -> Line:
    """The line of a sample in the index."""
    origin = sample.provenance
    return origin.to_json() | _files(sample.defect, origin.seed, clean=sample.clean is not None)


def _write_sample(root: Path, sample: DefectSample) -> Line:
    """Write the files of a sample and return its line of the index."""
    line = _line(sample)
    write_png(root / line["image"], sample.image)
    write_png(root / line["mask"], mask_to_pixels(sample.mask))
    if sample.clean is not None:
        write_png(root / line["clean"], sample.clean)
    return line


def _is_whole(root: Path, line: Line) -> bool:
    """Whether the files of a line are there, undamaged and of one size."""
    sizes = {png_size(root / path) for path in _files(line["defect"], line["seed"], clean="clean" in line).values()}
    return None not in sizes and len(sizes) == 1


def _read_all(root: Path) -> dict[Key, Line]:
    """The lines of the index and of all journals, sorted by defect and seed, without those that are damaged."""
    # Journals first: a process that removes them has written the index before.
    lines = [line for path in sorted(root.glob(_JOURNALS)) for line in _read_lines(path)]
    lines += _read_lines(root / INDEX)
    return dict(sorted(((line["defect"], line["seed"]), line) for line in lines if line is not None))


def _read_lines(path: Path) -> list[Line | None]:
    """The lines of an index or a journal; None for one that a crash cut short or that is damaged."""
    with output_errors(path):
        text = path.read_bytes() if path.is_file() else b""
    return [_parsed(line) for line in text.split(b"\n") if line]


def _parsed(text: bytes) -> Line | None:
    """A line of the index; None if it is none. Names in it become no paths but those of this folder."""
    try:
        line = json.loads(text)
        defect, seed = line["defect"], line["seed"]
        if type(defect) is not str or type(seed) is not int or seed < 0:
            return None
        files = _files(require_name(defect), seed, clean="clean" in line)
        return line if {name: line[name] for name in files} == files else None
    except (ValueError, TypeError, KeyError, RecursionError, InvalidNameError):
        return None


def _remove_torn_line(journal: Path) -> None:
    """Remove a last line that was cut short by a crash, so that the next one does not continue it."""
    if journal.exists():
        data = journal.read_bytes()
        if not data.endswith(b"\n"):
            with replacing(journal) as temporary:
                temporary.write_bytes(data[: data.rfind(b"\n") + 1])


def _append(path: Path, lines: Iterable[Line]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    with output_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(text)


def _write_index(path: Path, lines: Iterable[Line]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _no_progress(_done: int, _total: int) -> None:
    return
