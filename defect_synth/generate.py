"""Write a source's samples as a folder in MVTec layout that can be stopped and continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.errors import ConfigError, OutputError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource, Pixels

INDEX = "provenance.jsonl"
SHEET = "contact_sheet.png"
_CHUNK = 16  # samples between two writes of the index
_SHEET_ROWS = 12


def generate(
    source: DefectSource,
    output: Path,
    *,
    count: int,
    defects: Sequence[str] | None = None,
    first_seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw seeds first_seed .. first_seed + count - 1 of each defect into `output/<category>`.

    Layout: `test/<defect>/000000.png`, `ground_truth/<defect>/000000_mask.png` (0 and 255), `clean/<defect>/000000.png`
    where there is a pair, `provenance.jsonl` and `contact_sheet.png`. File numbers are seeds. Calling again continues:
    a sample counts as done once its line is in the index, and its files are written before that.

    Args:
        source: Any defect source.
        output: Folder; other files in it are left alone.
        count: Samples per defect.
        defects: Which ones; None: all.
        first_seed: Seed of the first sample.
        progress: Called with (done, total).

    Returns:
        The category's folder.

    Raises:
        ConfigError: `count` or `first_seed` out of range.
        UnknownDefectError: Not one of the source's defects.
        OutputError: Disk full, no permission, or the folder holds samples of another source.
    """
    if count < 1 or first_seed < 0:
        raise ConfigError(f"count must be 1 or more and the first seed 0 or more, got {count} and {first_seed}")
    chosen = tuple(source.defects if defects is None else defects)
    for defect in chosen:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, tuple(source.defects))
    root = output / source.category
    lines = _read_index(root / INDEX)
    digest = getattr(source, "digest", "")
    marker = root / ".source"
    if lines and digest and marker.exists() and marker.read_text(encoding="utf-8") != digest:
        raise OutputError(f"{root} holds samples of another checkpoint or other settings; choose another --output")
    if digest:
        with replacing(marker) as temporary:
            temporary.write_text(digest, encoding="utf-8")
    done = {(line["defect"], line["seed"]) for line in lines}
    todo = [
        (defect, seed)
        for defect in chosen
        for seed in range(first_seed, first_seed + count)
        if (defect, seed) not in done
    ]
    total = len(chosen) * count
    finished = total - len(todo)
    if progress is not None:
        progress(finished, total)
    for defect in chosen:
        seeds = [seed for name, seed in todo if name == defect]
        for start in range(0, len(seeds), _CHUNK):
            for sample in source.sample(defect, seeds[start : start + _CHUNK]):
                lines.append(_write(root, sample))
                finished += 1
            lines.sort(key=lambda line: (line["defect"], line["seed"]))
            _write_index(root / INDEX, lines)
            if progress is not None:
                progress(finished, total)
    _write_sheet(root, lines)
    return root


def _write(root: Path, sample: DefectSample) -> dict[str, object]:
    name = f"{sample.provenance.seed:06d}"
    line = sample.provenance.to_json()
    files = {
        "image": (f"test/{sample.defect}/{name}.png", sample.image),
        "mask": (f"ground_truth/{sample.defect}/{name}_mask.png", sample.mask * np.uint8(255)),
    }
    if sample.clean is not None:
        files["clean"] = (f"clean/{sample.defect}/{name}.png", sample.clean)
    for key, (relative, pixels) in files.items():
        _write_png(root / relative, pixels)
        line[key] = relative
    return line


def _write_png(path: Path, pixels: Pixels) -> None:
    data = cv2.imencode(".png", pixels[:, :, ::-1] if pixels.ndim == 3 else pixels)[1]
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _read_index(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise OutputError(f"{path} is damaged; delete it to generate anew, or choose another --output") from None


def _write_index(path: Path, lines: Sequence[dict[str, object]]) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _write_sheet(root: Path, lines: Sequence[dict[str, object]]) -> None:
    """Clean | mask | defect, three triplets a row, the first samples of every defect."""
    defects = sorted({str(line["defect"]) for line in lines})
    per_defect = max(3, 3 * _SHEET_ROWS // max(1, len(defects)) // 3 * 3)
    rows = []
    for defect in defects:
        cells = []
        for line in [line for line in lines if line["defect"] == defect][:per_defect]:
            image, mask = _read(root / str(line["image"])), _read(root / str(line["mask"]))
            clean = _read(root / str(line["clean"])) if "clean" in line else np.full_like(image, 32)
            cells.append(np.hstack([clean, mask, image, np.full((image.shape[0], 6, 3), 255, np.uint8)]))
        blank = np.full_like(cells[0], 255)
        cells += [blank] * (-len(cells) % 3)
        rows += [np.hstack(cells[i : i + 3]) for i in range(0, len(cells), 3)]
    _write_png(root / SHEET, np.vstack(rows)[:, :, ::-1])


def _read(path: Path) -> Pixels:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture, dtype=np.uint8)
