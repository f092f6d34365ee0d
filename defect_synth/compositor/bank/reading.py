"""Read the files of a bank, which anybody may have written: what does not fit together is refused when it is opened."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from defect_synth.config import Frozen, Name, validated
from defect_synth.errors import ConfigError, DataError
from defect_synth.files import MIB, open_file, parse_json, read_json
from defect_synth.names import names_in
from defect_synth.samples import Provenance

FORMAT = 3
_SAME_SIZE = 2  # the format in which all images have one size
INDEX, PROVENANCE = "bank.json", "provenance.jsonl"
APPEARANCE_LENGTH = 48

_MOST_ENTRIES, _MOST_DEFECTS, _MOST_PIXELS = 10**6, 10**4, 2**26
_MOST_LINE = 2**16

Arrays = dict[str, NDArray[Any]]


class BankIndex(Frozen):
    """The content of `bank.json`.

    Attributes:
        format: Version of the file format.
        category: Object category.
        digest: Identifies all entries.
        count: Number of entries.
        defects: Defect categories; an entry's label is an index into them.
    """

    model_config = ConfigDict(extra="ignore")

    format: int = Field(FORMAT, ge=_SAME_SIZE, le=FORMAT)
    category: Name
    digest: str = Field(min_length=1, max_length=128, pattern="^[0-9A-Za-z]*$")
    count: int = Field(ge=1, le=_MOST_ENTRIES)
    defects: tuple[Name, ...] = Field(min_length=1, max_length=_MOST_DEFECTS)


def read_index(folder: Path) -> BankIndex:
    """Read and check `bank.json`.

    Raises:
        DataError: It is damaged, or of another format.
        InvalidNameError: The category or a defect is no name.
    """
    try:
        values = read_json(folder / INDEX, MIB)
    except DataError as error:
        raise damaged(folder, str(error)) from None
    form = values.get("format") if isinstance(values, dict) else None
    if type(form) is int and not _SAME_SIZE <= form <= FORMAT:
        advice = "upgrade" if form > FORMAT else "make the bank again"
        raise DataError(
            f"{folder} has bank format {str(form)[:20]}, this version reads {_SAME_SIZE} and {FORMAT}; {advice}"
        )
    try:
        with names_in(folder / INDEX):
            index = validated(BankIndex, values)
    except ConfigError as error:
        raise damaged(folder, str(error)) from None
    if len(set(index.defects)) < len(index.defects):
        raise damaged(folder, "a defect is listed twice")
    return index


def read_arrays(folder: Path, index: BankIndex) -> Arrays:
    """Memory-map the arrays, and check their shapes and types and the values of the small ones.

    Arrays of both formats are returned as those of the later one, in which the pixels of all images are flat.

    Raises:
        DataError: An array is missing, damaged, or does not fit the index or the other arrays.
    """
    count = index.count
    shapes, (of_images, of_masks) = _sizes(folder, index)
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "images": (np.uint8, of_images),
        "masks": (np.uint8, of_masks),
        "cleans": (np.uint8, of_images),
        "appearance": (np.float32, (count, APPEARANCE_LENGTH)),
        "boxes": (np.int32, (count, 4)),
        "labels": (np.int32, (count,)),
        "paired": (np.uint8, (count,)),
    }
    if not (folder / "cleans.npy").exists():
        del expected["cleans"]
    arrays = {name: _array(folder, name) for name in expected}
    for name, (dtype, shape) in expected.items():
        if arrays[name].dtype != dtype or arrays[name].shape != shape:
            raise damaged(folder, f"{name} is {_form(arrays[name])}, expected {np.dtype(dtype)} {list(shape)}")
    arrays |= {name: arrays[name].reshape(-1) for name in ("images", "masks", "cleans") if name in arrays}
    arrays["shapes"] = shapes
    labels = np.asarray(arrays["labels"])
    if not np.array_equal(np.unique(labels), np.arange(len(index.defects))):
        raise damaged(folder, "labels and the defects of the index differ")
    appearance, paired = np.asarray(arrays["appearance"]), np.asarray(arrays["paired"])
    if not (np.isfinite(appearance).all() and appearance.min() >= 0 and appearance.max() <= 1):
        raise damaged(folder, "appearance holds values outside 0..1, or none")
    if int(paired.max()) > 1 or (int(paired.max()) == 1 and "cleans" not in arrays):
        raise damaged(folder, "paired names clean images that are not there")
    return arrays


def _sizes(folder: Path, index: BankIndex) -> tuple[NDArray[Any], tuple[tuple[int, ...], tuple[int, ...]]]:
    """Height and width of each image, int32 [N, 2], and the shapes that the arrays of images and masks must have."""
    count = index.count
    if index.format == _SAME_SIZE:
        images = _array(folder, "images")
        height, width = images.shape[1:3] if images.ndim == 4 else (0, 0)
        if not 1 <= height * width <= _MOST_PIXELS:
            raise damaged(folder, f"images is {_form(images)}, expected images of at most {_MOST_PIXELS} pixels")
        return np.full((count, 2), (height, width), np.int32), ((count, height, width, 3), (count, height, width))
    shapes = _array(folder, "shapes")
    if shapes.dtype != np.int32 or shapes.shape != (count, 2):
        raise damaged(folder, f"shapes is {_form(shapes)}, expected int32 {[count, 2]}")
    areas = np.prod(shapes, axis=1, dtype=np.int64)  # of two values below 2^31: no overflow
    if int(shapes.min()) < 1 or int(areas.max()) > _MOST_PIXELS:
        raise damaged(folder, f"shapes holds images of no pixels, or of more than {_MOST_PIXELS}")
    pixels = int(areas.sum())
    return shapes, ((3 * pixels,), (pixels,))


def read_provenance(folder: Path, count: int) -> list[dict[str, Any]]:
    """The provenance of each entry, as plain values that `Provenance.from_json` takes.

    Raises:
        DataError: A line is no provenance, or there are more or fewer than entries.
        InvalidNameError: A category or a defect in it is no name.
    """
    found = []
    for number, line in enumerate(_lines(folder / PROVENANCE), start=1):
        where = f"{folder / PROVENANCE}, line {number}"
        if number > count:
            raise damaged(folder, f"more lines of provenance than the {count} entries")
        values = parse_json(line, where)
        try:
            with names_in(where):
                found.append(Provenance.from_json(values).to_json())
        except (ValueError, TypeError, AttributeError) as error:
            raise damaged(folder, f"line {number} of {PROVENANCE}: {str(error)[:80]}") from None
    if len(found) != count:
        raise damaged(folder, f"{len(found)} lines of provenance for {count} entries")
    return found


def damaged(folder: Path | None, what: str) -> DataError:
    """The error that names a bank and what is wrong with it."""
    return DataError(f"{folder or 'the bank'} is damaged ({what[:160]}); make the bank again")


def _array(folder: Path, name: str) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    try:
        with open_file(path) as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"version {version[0]}.{version[1]}")
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
        # Python's integers: NumPy's would overflow for the sizes that a header can claim.
        if fortran_order or dtype.hasobject or min(shape, default=0) < 0:
            raise ValueError(f"{dtype} {list(shape)}")
        if math.prod((dtype.itemsize, *shape)) != size - start:
            raise ValueError(f"{size - start} bytes for {dtype} {list(shape)}")
        return np.memmap(path, dtype, "r", start, shape)
    except Exception as error:  # NumPy's parser of headers raises all kinds of exceptions on damaged files
        raise damaged(folder, f"{name}.npy: {str(error).removeprefix(f'{path}: ')}") from None


def _lines(path: Path) -> Iterator[str]:
    with open_file(path) as file:
        while line := file.readline(_MOST_LINE + 1):
            if len(line) > _MOST_LINE:
                raise DataError(f"{path}: a line is longer than {_MOST_LINE} bytes; make the bank again")
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                raise DataError(f"{path}: not UTF-8 text; make the bank again") from None


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"[:60]
