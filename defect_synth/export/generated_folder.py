"""Write the samples of a source as a folder in MVTec AD layout, which can be interrupted, continued and sharded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defect_synth.atomic import output_errors, replacing
from defect_synth.data.png import write_png
from defect_synth.errors import ConfigError, OutputError, UnknownDefectError
from defect_synth.export.contact_sheet import write_contact_sheet
from defect_synth.samples import DefectSample, DefectSource, available_seeds, mask_to_pixels

INDEX = "provenance.jsonl"
SHEET = "contact_sheet.png"
_CHUNK = 16  # samples between two writes to the journal
_JOURNALS = ".part-*.jsonl"

Line = dict[str, Any]


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
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the samples of seeds first_seed, first_seed + 1, ... of each defect into `output/<category>`.

    The files are `test/<defect>/000000.png`, `ground_truth/<defect>/000000_mask.png` (0 and 255),
    `clean/<defect>/000000.png` for samples with a clean image, `provenance.jsonl` (the index) and `contact_sheet.png`.
    File numbers are seeds.

    Each process appends to a journal of its own. A sample is done once its line is in the index or in any journal; its
    files are written before. Calling the function again continues. Shards draw disjoint parts of the samples, in any
    order, at the same time or not. The process that finds all samples done writes the index and the contact sheet and
    removes the journals, so that the folder has the same bytes as if a single process had written it.

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
        OutputError: The folder cannot be written, or contains samples of another source.
    """
    if count < 1 or first_seed < 0:
        raise ConfigError(f"count must be 1 or more and the first seed 0 or more, got {count} and {first_seed}")
    chosen = tuple(source.defects if defects is None else dict.fromkeys(defects))
    for defect in chosen:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, tuple(source.defects))
    root = output / source.category
    before = _read_all(root)
    _claim(root, source.digest, bool(before))
    part = shard or Shard()
    wanted = [(defect, seed) for defect in chosen for seed in available_seeds(source, defect, count, first_seed)]
    if not wanted:
        raise ConfigError(f"the source has no sample from seed {first_seed} on; choose a smaller --seed")
    mine = wanted[part.part - 1 :: part.parts]
    todo = [key for key in mine if key not in before]
    total, finished = len(mine), len(mine) - len(todo)
    if progress is not None:
        progress(finished, total)
    journal = root / f".part-{part.part}-of-{part.parts}.jsonl"
    _remove_torn_line(journal)
    try:
        for defect in chosen:
            seeds = [seed for name, seed in todo if name == defect]
            for start in range(0, len(seeds), _CHUNK):
                samples = source.sample(defect, seeds[start : start + _CHUNK])
                _append(journal, [_write_sample(root, sample) for sample in samples])
                finished += len(samples)
                if progress is not None:
                    progress(finished, total)
    finally:
        # A process that works alone leaves an index of the samples so far when it is interrupted.
        lines = _read_all(root)
        complete = all(key in lines for key in wanted)
        if lines and (complete or part.parts == 1):
            _write_index(root / INDEX, lines.values())
    if complete:
        write_contact_sheet(root / SHEET, root, list(lines.values()))
        for done in root.glob(_JOURNALS):
            done.unlink(missing_ok=True)  # the index has all their lines
    return root


def _claim(root: Path, digest: str, occupied: bool) -> None:
    """Mark the folder with the digest of the source.

    Raises:
        OutputError: It contains samples of another source.
    """
    marker = root / ".source"
    if occupied and marker.exists() and marker.read_text(encoding="utf-8") != digest:
        raise OutputError(f"{root} contains samples of another source or other settings; choose another --output")
    with replacing(marker) as temporary:
        temporary.write_text(digest, encoding="utf-8")


def _write_sample(root: Path, sample: DefectSample) -> Line:
    """Write the files of a sample and return its line of the index."""
    name = f"{sample.provenance.seed:06d}"
    line = sample.provenance.to_json()
    files = {
        "image": (f"test/{sample.defect}/{name}.png", sample.image),
        "mask": (f"ground_truth/{sample.defect}/{name}_mask.png", mask_to_pixels(sample.mask)),
    }
    if sample.clean is not None:
        files["clean"] = (f"clean/{sample.defect}/{name}.png", sample.clean)
    for key, (relative, pixels) in files.items():
        write_png(root / relative, pixels)
        line[key] = relative
    return line


def _read_all(root: Path) -> dict[tuple[str, int], Line]:
    """The lines of the index and of all journals, sorted by defect and seed."""
    # Journals first: a process that removes them has written the index before.
    lines = [line for path in sorted(root.glob(_JOURNALS)) for line in _read_lines(path, torn=True)]
    lines += _read_lines(root / INDEX, torn=False)
    return dict(sorted(((str(line["defect"]), int(line["seed"])), line) for line in lines))


def _read_lines(path: Path, *, torn: bool) -> list[Line]:
    """Read lines of JSON; with `torn`, a last line that was cut short by a crash is ignored."""
    try:
        text = path.read_text(encoding="utf-8")
        whole = text.rpartition("\n")[0] if torn else text
        return [json.loads(line) for line in whole.splitlines() if line]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise OutputError(f"{path} is damaged; delete it to generate again, or choose another --output") from None


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
