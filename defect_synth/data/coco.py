"""Read COCO instances files: their categories are the defects, and images without annotations are good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from defect_synth.data.coco_mask import CocoMask
from defect_synth.data.folders import visible
from defect_synth.data.records import COMBINED, Draft, is_good
from defect_synth.errors import DataError
from defect_synth.files import open_file

_LONGEST_NAME = 255  # bytes
_MOST_PIXELS = 2**28


def coco_files(path: Path) -> list[Path]:
    """The COCO instances files at `path`, in it or in its folder `annotations`."""
    files = [path] if path.is_file() else visible(path) + visible(path / "annotations")
    return [file for file in files if file.suffix.lower() == ".json" and file.is_file() and _load(file) is not None]


def _load(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(_text(file))
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content.keys() >= {"images", "annotations", "categories"} else None


def _text(file: Path) -> str:
    with open_file(file) as opened:
        return opened.read().decode("utf-8-sig")  # some tools write a byte-order mark


def why_no_json(file: Path) -> str:
    """Where a JSON file is broken, in words; empty if it is JSON."""
    try:
        json.loads(_text(file))
    except json.JSONDecodeError as error:
        return f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
    except UnicodeDecodeError:
        return "is not JSON: it is not UTF-8 text"
    except (ValueError, RecursionError):
        return "is not JSON that can be read: numbers of too many digits, or nested too deeply"
    return ""


def read_coco(path: Path, category: str | None) -> Draft:
    """Read images and segmentations; an image with several defects has the defect `combined`.

    Raises:
        DataError: There are several files, or one is inconsistent.
    """
    files = coco_files(path)
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{path} holds {len(files)} COCO files: {names}; give the path of one")
    file = files[0]
    root = file.parent.parent if file.parent.name == "annotations" else file.parent
    draft = Draft(
        root,
        category or root.resolve().name,
        f"images without annotations in {file}",
        f"a segmentation (polygons or RLE) in the annotations of {file}",
    )
    content = _load(file)
    assert content is not None  # coco_files has checked it
    try:
        kinds = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        annotations: dict[Any, list[dict[str, Any]]] = {entry["id"]: [] for entry in content["images"]}
        for entry in content["annotations"]:
            if entry["image_id"] not in annotations:
                raise DataError(
                    f"{file}: annotation {entry.get('id')} belongs to image {entry['image_id']}, not listed"
                )
            if entry["category_id"] not in kinds:
                raise DataError(f"{file}: annotation {entry.get('id')} has category {entry['category_id']}, not listed")
            annotations[entry["image_id"]].append(entry)
        for image in content["images"]:
            marks = [mark for mark in annotations[image["id"]] if not is_good(kinds[mark["category_id"]])]
            shown = {kinds[mark["category_id"]] for mark in marks}
            defect = None if not shown else shown.pop() if len(shown) == 1 else COMBINED
            found, mask = _image(root, file, str(image["file_name"]).replace("\\", "/")), _mask(file, image, marks)
            draft.add(found, mask, defect)
            boxes = [str(mark.get("id")) for mark in marks if mask is not None and not mark.get("segmentation")]
            if boxes:
                ids = ", ".join(boxes[:5])
                draft.leave_out(
                    found, f"annotations without a mask are not read: {ids} of {file.name}; outline or remove them"
                )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{file} is not a COCO instances file: {what}") from None
    return draft


def _image(root: Path, file: Path, name: str) -> Path:
    places = (file.parent / name, file.parent / "images" / name, root / name, root / "images" / name)
    if len(name.encode()) > _LONGEST_NAME:
        raise DataError(f"{file}: file_name of {len(name)} characters; a file name has at most {_LONGEST_NAME} bytes")
    return next((place for place in places if place.is_file()), places[0])


def _mask(file: Path, image: dict[str, Any], marks: list[dict[str, Any]]) -> CocoMask | None:
    polygons: list[tuple[float, ...]] = []
    runs: list[tuple[int, ...] | str] = []
    height, width = int(image["height"]), int(image["width"])
    if height < 1 or width < 1 or height * width > _MOST_PIXELS:
        raise DataError(f"{file}: image {image['id']} has height {height} and width {width}; export the file again")
    for mark in marks:
        segmentation = mark.get("segmentation")
        if isinstance(segmentation, dict):
            if list(segmentation["size"]) != [height, width]:
                raise DataError(
                    f"{file}: RLE of annotation {mark.get('id')} has size {segmentation['size']}, "
                    f"its image is {height} high and {width} wide; expected [{height}, {width}]"
                )
            counts = segmentation["counts"]
            runs.append(counts if isinstance(counts, str) else tuple(int(count) for count in counts))
        elif isinstance(segmentation, list) and all(isinstance(ring, list) for ring in segmentation):
            polygons += [tuple(float(number) for number in ring) for ring in segmentation]
        elif segmentation is not None:
            raise DataError(
                f"{file}: segmentation of annotation {mark.get('id')} must be a list of polygons "
                "[[x0, y0, x1, y1, ...], ...] or an RLE with size and counts"
            )
    if not polygons and not runs:
        return None  # good, or boxes only
    return CocoMask(file, str(image["id"]), height, width, tuple(polygons), tuple(runs))
