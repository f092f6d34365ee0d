"""Write a source's samples as a folder in MVTec layout; can be stopped, continued and shared by machines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.data.png import decode_png, write_png
from defect_synth.errors import ConfigError, OutputError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource, Pixels, available_seeds, mask_to_pixels

INDEX = "provenance.jsonl"
SHEET = "contact_sheet.png"
_CHUNK = 16  # samples between two writes of the journal
_SHEET_ROWS = 12
_SHEET_SIDE = 256  # of each picture, at most
_JOURNALS = ".part-*.jsonl"

Line = dict[str, Any]


@dataclass(frozen=True)
class Shard:
    """One of several machines' parts of the samples: number `part` of `parts`, counted from 1."""

    part: int = 1
    parts: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `2/8`.

        Raises:
            ConfigError: Something else, or a part that does not exist.
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

    Layout: `test/<defect>/000000.png`, `ground_truth/<defect>/000000_mask.png` (0 and 255), `clean/<defect>/000000.png`
    where there is a pair, `provenance.jsonl` and `contact_sheet.png`. File numbers are seeds.

    While it draws, a process appends to a journal of its own; a sample counts as done once its line is in the index or
    in any journal, and its files are written before that. Calling again continues. Shards draw disjoint parts in any
    order, at the same time or not; the one that finds all samples done writes the index and the sheet and removes the
    journals, so that the folder is the same bytes as one that a single process made.

    Args:
        source: Any defect source; a finite one gives at most the samples that it holds.
        output: Folder; other files in it are left alone.
        count: Samples per defect.
        defects: Which ones; None: all.
        first_seed: Seed of the first sample.
        shard: Which part of the samples to draw; None: all.
        progress: Called with (done, total) of this part.

    Returns:
        The category's folder.

    Raises:
        ConfigError: `count` or `first_seed` out of range.
        UnknownDefectError: Not one of the source's defects.
        OutputError: Disk full, no permission, or the folder holds samples of another source.
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
    _mend(journal)
    try:
        for defect in chosen:
            seeds = [seed for name, seed in todo if name == defect]
            for start in range(0, len(seeds), _CHUNK):
                samples = source.sample(defect, seeds[start : start + _CHUNK])
                _append(journal, [_write(root, sample) for sample in samples])
                finished += len(samples)
                if progress is not None:
                    progress(finished, total)
    finally:
        # One process alone leaves an index of what there is also when it is stopped.
        lines = _read_all(root)
        complete = all(key in lines for key in wanted)
        if lines and (complete or part.parts == 1):
            _write_index(root / INDEX, lines.values())
    if complete:
        _write_sheet(root, list(lines.values()))
        for done in root.glob(_JOURNALS):
            done.unlink(missing_ok=True)  # all they say is in the index
    return root


def _claim(root: Path, digest: str, occupied: bool) -> None:
    """Mark the folder as holding samples of one source and settings, or refuse."""
    marker = root / ".source"
    if occupied and marker.exists() and marker.read_text(encoding="utf-8") != digest:
        raise OutputError(f"{root} holds samples of another checkpoint or other settings; choose another --output")
    with replacing(marker) as temporary:
        temporary.write_text(digest, encoding="utf-8")


def _write(root: Path, sample: DefectSample) -> Line:
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
    """What the index and all journals say is done, sorted by defect and seed."""
    # Journals first: whoever removes them has written the index before.
    lines = [line for path in sorted(root.glob(_JOURNALS)) for line in _read_lines(path, torn=True)]
    lines += _read_lines(root / INDEX, torn=False)
    return dict(sorted(((str(line["defect"]), int(line["seed"])), line) for line in lines))


def _read_lines(path: Path, *, torn: bool) -> list[Line]:
    """Lines of JSON; with `torn`, one that was cut in half by a crash is passed over."""
    try:
        text = path.read_text(encoding="utf-8")
        whole = text.rpartition("\n")[0] if torn else text
        return [json.loads(line) for line in whole.splitlines() if line]
    except FileNotFoundError:
        return []
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise OutputError(f"{path} is damaged; delete it to generate anew, or choose another --output") from None


def _mend(journal: Path) -> None:
    """Cut off half a line that a crash has left, or the next one would be glued to it."""
    if journal.exists():
        data = journal.read_bytes()
        if not data.endswith(b"\n"):
            with replacing(journal) as temporary:
                temporary.write_bytes(data[: data.rfind(b"\n") + 1])


def _append(path: Path, lines: Iterable[Line]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; free space or choose another --output") from error


def _write_index(path: Path, lines: Iterable[Line]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _write_sheet(root: Path, lines: Sequence[Line]) -> None:
    """Clean | mask | defect, three triplets a row, the first samples of every defect; reduced, padded to one size."""
    defects = sorted({str(line["defect"]) for line in lines})
    per_defect = max(3, 3 * _SHEET_ROWS // max(1, len(defects)) // 3 * 3)
    shown = [line for defect in defects for line in [x for x in lines if x["defect"] == defect][:per_defect]]
    triplets = {}
    for line in shown:
        image, mask = _read(root / str(line["image"])), _read(root / str(line["mask"]))
        clean = _read(root / str(line["clean"])) if "clean" in line else np.full_like(image, 32)
        triplets[str(line["image"])] = np.hstack([_reduced(part) for part in (clean, mask, image)])
    height, width = (max(triplet.shape[axis] for triplet in triplets.values()) for axis in (0, 1))
    rows = []
    for defect in defects:
        cells = [_padded(triplets[str(x["image"])], height, width + 6) for x in shown if x["defect"] == defect]
        cells += [np.full_like(cells[0], 255)] * (-len(cells) % 3)
        rows += [np.hstack(cells[i : i + 3]) for i in range(0, len(cells), 3)]
    write_png(root / SHEET, np.vstack(rows))


def _reduced(picture: Pixels) -> Pixels:
    scale = _SHEET_SIDE / max(picture.shape[:2])
    if scale >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _padded(picture: Pixels, height: int, width: int) -> Pixels:
    below, right = height - picture.shape[0], width - picture.shape[1]
    return np.pad(picture, ((0, below), (0, right), (0, 0)), constant_values=255)


def _read(path: Path) -> Pixels:
    picture = decode_png(path.read_bytes())
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
