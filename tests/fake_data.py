"""Tiny object categories for every test: a bright disc on dark, a defect is a dark blob on it with its exact mask.

Every function writes one category and returns the path that `layouts.index` takes. Equal arguments write equal pixels.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.uint8]
DEFECTS: Mapping[str, int] = {"hole": 6, "cut": 6}


def fake_nut(rng: np.random.Generator, size: int, defect: str | None = None) -> tuple[Array, Array]:
    """One image uint8 [size, size, 3] and its mask uint8 [size, size] of 0 and 1.

    `cut` is a long thin blob, every other defect a round one; both lie inside the disc.
    """
    y, x = np.mgrid[:size, :size] + 0.5
    centre = size / 2 + rng.uniform(-0.03, 0.03, 2) * size
    radius = size * rng.uniform(0.36, 0.40)
    disc = np.hypot(y - centre[0], x - centre[1]) < radius
    image = np.where(disc[:, :, None], [190.0, 140.0, 90.0], [25.0, 25.0, 30.0])
    mask = np.zeros((size, size), np.uint8)
    if defect is not None:
        angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45) * radius
        down, right = y - centre[0] - distance * np.sin(angle), x - centre[1] - distance * np.cos(angle)
        turn = rng.uniform(0, np.pi)
        along, across = down * np.sin(turn) + right * np.cos(turn), down * np.cos(turn) - right * np.sin(turn)
        longest, shortest = (0.5, 0.1) if defect == "cut" else (0.25, 0.25)
        blob = np.hypot(along / (longest * radius), across / (shortest * radius)) < rng.uniform(0.8, 1.1)
        mask = (blob & disc).astype(np.uint8)
        image[mask == 1] = [60.0, 35.0, 20.0]
    image += rng.normal(0, 3, image.shape)
    return image.round().clip(0, 255).astype(np.uint8), mask


def fake_category(
    defects: Mapping[str, int], good: int, size: int, seed: int
) -> Iterator[tuple[str | None, int, Array, Array]]:
    """(defect or None, number within its kind, image, mask) of a whole category."""
    rng = np.random.default_rng(seed)
    for defect, count in [(None, good), *defects.items()]:
        for i in range(count):
            yield defect, i, *fake_nut(rng, size, defect)


def save(path: Path, array: Array) -> Path:
    """Write an array as an image file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def write_mvtec(
    root: Path,
    category: str = "nut",
    defects: Mapping[str, int] = DEFECTS,
    good: int = 12,
    size: int = 48,
    seed: int = 0,
    good_test: int = 3,
) -> Path:
    """MVTec AD's layout; returns `root/category`."""
    home = root / category
    for defect, i, image, mask in fake_category(defects, good + good_test, size, seed):
        if defect is None:
            folder = "train/good" if i < good else "test/good"
            save(home / folder / f"{i if i < good else i - good:03d}.png", image)
        else:
            save(home / "test" / defect / f"{i:03d}.png", image)
            save(home / "ground_truth" / defect / f"{i:03d}_mask.png", mask * np.uint8(255))
    return home


def write_visa(
    root: Path,
    category: str = "candle",
    defects: Mapping[str, int] = DEFECTS,
    good: int = 12,
    size: int = 48,
    seed: int = 0,
    good_test: int = 3,
) -> Path:
    """VisA as published, masks with an index for each kind; returns `root/category`.

    A kind such as `hole, cut` stands for an image with both.
    """
    home, annotations, split = root / category, [], []
    number = 0
    for defect, i, image, mask in fake_category(defects, good + good_test, size, seed):
        folder, stem = ("Normal", f"{i:04d}") if defect is None else ("Anomaly", f"{number:03d}")
        file = save(home / "Data" / "Images" / folder / f"{stem}.JPG", image).relative_to(root).as_posix()
        marked = ""
        if defect is not None:
            number += 1
            index = np.uint8(1 + list(defects).index(defect))
            marked = (
                save(home / "Data" / "Masks" / "Anomaly" / f"{stem}.png", mask * index).relative_to(root).as_posix()
            )
        train = defect is None and i < good
        annotations.append([file, defect or "normal", marked])
        split.append([category, "train" if train else "test", "normal" if defect is None else "anomaly", file, marked])
    _table(home / "image_anno.csv", [["image", "label", "mask"], *annotations])
    _table(root / "split_csv" / "1cls.csv", [["object", "split", "label", "image", "mask"], *split])
    return home


def write_folders(
    root: Path,
    category: str = "nut",
    defects: Mapping[str, int] = DEFECTS,
    good: int = 12,
    size: int = 48,
    seed: int = 0,
    masks: Literal["beside", "ground_truth", "masks"] = "beside",
    ending: str = "_mask",
    good_name: str = "good",
) -> Path:
    """`good` and a folder for each defect; returns `root/category`."""
    home = root / category
    for defect, i, image, mask in fake_category(defects, good, size, seed):
        save(home / (defect or good_name) / f"{i:03d}.png", image)
        if defect is not None:
            folder = home / defect if masks == "beside" else home / masks / defect
            save(folder / f"{i:03d}{ending}.png", mask * np.uint8(255))
    return home


def write_csv(
    root: Path,
    category: str = "nut",
    defects: Mapping[str, int] = DEFECTS,
    good: int = 12,
    size: int = 48,
    seed: int = 0,
    split: bool = False,
) -> Path:
    """A table beside folders of images and masks; with `split`, the last image of each kind is for testing."""
    home = root / category
    table = [["image", "mask", "defect"] + ["split"] * split]
    for defect, i, image, mask in fake_category(defects, good, size, seed):
        kind, count = defect or "good", good if defect is None else defects[defect]
        file = save(home / "images" / f"{kind}_{i}.png", image).relative_to(home).as_posix()
        marked = ""
        if defect is not None:
            marked = save(home / "labels" / f"{kind}_{i}.png", mask * np.uint8(255)).relative_to(home).as_posix()
        table.append([file, marked, kind] + ["test" if i == count - 1 else "train"] * split)
    return _table(home / "images.csv", table)


def write_coco(
    root: Path,
    category: str = "nut",
    defects: Mapping[str, int] = DEFECTS,
    good: int = 12,
    size: int = 48,
    seed: int = 0,
    form: Literal["polygons", "runs", "text"] = "polygons",
) -> Path:
    """Images with one instances file; returns the JSON. `text` is COCO's compressed run-length code."""
    home = root / category
    content: dict[str, list[dict[str, Any]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": defect} for i, defect in enumerate(defects, start=1)],
    }
    for defect, i, image, mask in fake_category(defects, good, size, seed):
        number = len(content["images"])
        file = save(home / "images" / f"{defect or 'good'}_{i}.png", image).name
        content["images"].append({"id": number, "file_name": file, "height": size, "width": size})
        if defect is not None:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]),
                    "image_id": number,
                    "category_id": 1 + list(defects).index(defect),
                    "segmentation": segmentation(mask, form),
                }
            )
    path = home / "instances.json"
    path.write_text(json.dumps(content))
    return path


def segmentation(mask: Array, form: Literal["polygons", "runs", "text"]) -> Any:
    """A mask in one of COCO's three forms, exact to the pixel."""
    if form == "polygons":  # one rectangle for each horizontal run
        edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
        rows, starts = np.nonzero(edges == 1)
        ends = np.nonzero(edges == -1)[1]
        return [
            [float(v) for v in (a, y, b, y, b, y + 1, a, y + 1)] for y, a, b in zip(rows, starts, ends, strict=True)
        ]
    column = mask.T.ravel()
    changes = np.flatnonzero(np.diff(column)) + 1
    runs = np.diff([0, *changes, column.size]).tolist()
    runs = [0, *runs] if column[0] else runs
    return {"size": list(mask.shape), "counts": runs if form == "runs" else _as_text(runs)}


def _as_text(runs: list[int]) -> str:
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            bits, value = value & 31, value >> 5
            done = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def _table(path: Path, rows: list[list[str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path
