"""Recognise the layout of a data set and read it into one table of records.

Only names are read here: which images are good, which defect the others show, which masks belong to them. Pixels are
read by `images` and `masks`. There is one file for each layout; this one recognises them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from defect_synth.data.coco import coco_files, read_coco, why_no_json
from defect_synth.data.csv_table import csv_tables, header, read_csv
from defect_synth.data.folders import folders_in, looks_mvtec, looks_plain, read_mvtec, read_plain, visible
from defect_synth.data.records import COMBINED, Draft, Record, Table
from defect_synth.data.visa import looks_visa, read_visa
from defect_synth.errors import DataError
from defect_synth.files import require_file

__all__ = ["COMBINED", "LAYOUTS", "Layout", "Record", "Table", "index"]


class Layout(NamedTuple):
    """How a layout is recognised and read; `shape` describes it in one line."""

    shape: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, str | None], Draft]


LAYOUTS: dict[str, Layout] = {  # in the order in which "auto" tries them
    "mvtec": Layout("train/good/*.png, test/<defect>/*.png, ground_truth/<defect>/*_mask.png", looks_mvtec, read_mvtec),
    "visa": Layout(
        "Data/Images/Normal, Data/Images/Anomaly, Data/Masks/Anomaly, image_anno.csv", looks_visa, read_visa
    ),
    "folders": Layout(
        "good/*.png, <defect>/*.png, masks as <defect>/*_mask.png or masks/<defect>/*.png", looks_plain, read_plain
    ),
    "csv": Layout(
        "a CSV table with the columns image, mask, defect[, split]", lambda path: bool(csv_tables(path)), read_csv
    ),
    "coco": Layout("a JSON file with images, annotations, categories", lambda path: bool(coco_files(path)), read_coco),
}


def index(
    path: str | Path,
    category: str | None = None,
    layout: Literal["auto", "mvtec", "visa", "folders", "csv", "coco"] = "auto",
) -> Table:
    """Find all images and masks of one object category.

    Args:
        path: The folder of a category, a folder of categories, a CSV table or a COCO JSON file.
        category: Which category of a folder of categories. If `path` is a single category: its name, by default that of
            the folder.
        layout: `auto` tries mvtec, visa, folders, csv, coco in that order.

    Raises:
        DataError: Nothing is there or recognised, there are several categories and none is named, or there are no good
            images or no masks.
    """
    root = Path(path)
    if not root.exists():
        raise DataError(f"{root} does not exist; give a category's folder, a CSV table or a COCO JSON file")
    if not root.is_dir():
        require_file(root)
    if layout not in ("auto", *LAYOUTS):
        raise DataError(f"unknown layout {layout!r}; known: auto, {', '.join(LAYOUTS)}")
    tried = tuple(LAYOUTS) if layout == "auto" else (layout,)
    here = _recognise(root, tried)
    if here is not None:
        return LAYOUTS[here].read(root, category).finish(here)
    below = {child.name: found for child in folders_in(root) if (found := _recognise(child, tried)) is not None}
    if not below:
        raise DataError(_unrecognised(root, tried))
    if category is None:
        if len(below) > 1:
            raise DataError(f"{root} holds {len(below)} categories: {', '.join(below)}; name one with category=")
        category = next(iter(below))
    if category not in below:
        raise DataError(f"{root} has no category {category!r}; found: {', '.join(below)}")
    return LAYOUTS[below[category]].read(root / category, category).finish(below[category])


def _recognise(path: Path, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if LAYOUTS[name].recognise(path)), None)


def _unrecognised(root: Path, tried: tuple[str, ...]) -> str:
    if root.is_dir():
        entries = [child.name + "/" * child.is_dir() for child in visible(root)]
        more = f" and {len(entries) - 6} more" if len(entries) > 6 else ""
        found = f"a folder with {', '.join(entries[:6]) or 'nothing'}{more}"
    elif root.suffix.lower() == ".json" and (broken := why_no_json(root)):
        return f"{root} {broken}"
    elif root.suffix.lower() == ".csv":
        found = f"a CSV table with the columns {', '.join(sorted(header(root)))}"
    else:
        found = f"a {root.suffix or 'nameless'} file"
    shapes = "; ".join(f"{name}: {LAYOUTS[name].shape}" for name in tried)
    return f"{root} has no known layout: found {found}; tried {shapes}"
