"""Read the VisA data set in its published layout."""

from __future__ import annotations

from pathlib import Path

from defect_synth.data.csv_table import header, rows
from defect_synth.data.folders import images_in
from defect_synth.data.records import COMBINED, Draft
from defect_synth.errors import DataError


def looks_visa(path: Path) -> bool:
    """Whether `path` is a category of VisA, or the official table of splits."""
    if path.is_file():
        return path.suffix.lower() == ".csv" and {"object", "split", "label", "image"} <= header(path) - {"defect"}
    return (path / "Data" / "Images").is_dir()


def read_visa(root: Path, category: str | None) -> Draft:
    """Read `Data/Images`, `Data/Masks`, defects from `image_anno.csv` and splits from `../split_csv/1cls.csv`.

    An image with several defects has the defect `combined`.

    Raises:
        DataError: A table does not match the images.
    """
    if root.is_file():
        return _read_split_table(root, category)
    images, masks = root / "Data" / "Images", root / "Data" / "Masks" / "Anomaly"
    draft = Draft(root, category or root.resolve().name, f"{images / 'Normal'}/*.JPG", f"{masks}/*.png")
    kinds = _kinds(root)
    splits = _splits(root)
    for image in images_in(images / "Normal"):
        draft.add(image, None, None, splits.get(f"Normal/{image.name}", ""))
    by_stem = {mask.stem.lower(): mask for mask in images_in(masks)}
    anomalies = images_in(images / "Anomaly")
    for image in anomalies:
        if kinds and image.name not in kinds:
            raise DataError(f"{root / 'image_anno.csv'} has no row for {image.name}; add one or remove the image")
        defect = kinds.get(image.name, "anomaly")
        draft.add(image, by_stem.get(image.stem.lower()), defect, splits.get(f"Anomaly/{image.name}", ""))
    draft.offered = set(by_stem.values())
    return draft


def _kinds(root: Path) -> dict[str, str]:
    """File name of an anomalous image -> its defect, from `image_anno.csv`; empty if that file is missing."""
    table = root / "image_anno.csv"
    if not table.is_file():
        return {}
    kinds = {}
    for _, row in rows(table, ("image", "label")):
        labels = [label.strip() for label in row["label"].split(",") if label.strip()]
        if Path(row["image"]).parent.name == "Anomaly":
            kinds[Path(row["image"]).name] = labels[0] if len(labels) == 1 else COMBINED
    return kinds


def _splits(root: Path) -> dict[str, str]:
    """`Normal/0001.JPG` -> `train` or `test`, from the official one-class split; empty if it is missing."""
    table = next((t for t in (root.parent / "split_csv" / "1cls.csv", root / "1cls.csv") if t.is_file()), None)
    if table is None:
        return {}
    name = root.resolve().name
    return {
        "/".join(Path(row["image"]).parts[-2:]): row["split"]
        for _, row in rows(table, ("object", "split", "image"))
        if row["object"] == name
    }


def _read_split_table(table: Path, category: str | None) -> Draft:
    """Read one category by way of the official split table, which is in `<VisA>/split_csv` or in `<VisA>`."""
    table = table.absolute()  # its parents are wanted, also for a bare file name
    found = sorted({row["object"] for _, row in rows(table, ("object", "split", "image"))})
    if category is None and len(found) != 1:
        raise DataError(f"{table} holds {len(found)} categories: {', '.join(found)}; name one with category=")
    category = category or found[0]
    if category not in found:
        raise DataError(f"{table} has no category {category!r}; found: {', '.join(found)}")
    for parent in (table.parent.parent, table.parent):
        if looks_visa(parent / category):
            return read_visa(parent / category, category)
    expected = table.parent.parent / category / "Data" / "Images"
    raise DataError(f"{table} lists {category!r}, but {expected} does not exist")
