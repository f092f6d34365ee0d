"""Read CSV tables with one row per image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defect_synth.data.folders import visible
from defect_synth.data.records import Draft, is_good
from defect_synth.errors import DataError
from defect_synth.files import MIB, open_file, read_bytes

_MOST_BYTES, _MOST_HEADER = 64 * MIB, 2**16


def header(table: Path) -> set[str]:
    """Column names in lower case; the file need not be a table."""
    with open_file(table) as lines:
        first = lines.readline(_MOST_HEADER).decode("utf-8-sig", errors="replace")
    return {name.strip().strip('"').lower() for name in first.replace(";", ",").replace("\t", ",").split(",")}


def csv_tables(path: Path) -> list[Path]:
    """The tables of images at `path` or in it."""
    files = [path] if path.is_file() else visible(path)
    tables = [file for file in files if file.suffix.lower() == ".csv" and (file == path or file.is_file())]
    return [table for table in tables if {"image", "defect"} <= header(table)]


def rows(table: Path, required: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of every row; column names in lower case, cells stripped.

    Raises:
        DataError: The table is not UTF-8, lacks a required column, or has a row with too many cells.
    """
    try:
        text = read_bytes(table, _MOST_BYTES).decode("utf-8-sig")  # Excel writes a byte-order mark
    except UnicodeDecodeError:
        raise DataError(f"{table} is not UTF-8 text; save it as 'CSV UTF-8'") from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)  # Excel writes ; where the decimal sign is a comma
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    columns = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in required if name not in columns]
    if missing:
        raise DataError(f"{table}: no column {', '.join(missing)}; found: {', '.join(columns) or 'an empty file'}")
    found = []
    for cells in _cells(reader, table):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            raise DataError(
                f"{table} line {reader.line_num}: {len(cells)} cells for {len(columns)} columns; "
                f"put quotes around a cell that holds {delimiter!r}"
            )
        cells += [""] * (len(columns) - len(cells))
        found.append((reader.line_num, dict(zip(columns, (cell.strip() for cell in cells), strict=True))))
    return found


def _cells(reader: Any, table: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:  # such as a cell of 200 kB, or a NUL byte
        raise DataError(f"{table} line {reader.line_num}: {error}; save the table again") from None


def read_csv(path: Path, category: str | None) -> Draft:
    """Read the columns image, mask, defect and, if present, split; paths are relative to the table.

    Raises:
        DataError: There are several tables, or a row is invalid.
    """
    tables = csv_tables(path)
    if len(tables) > 1:
        raise DataError(f"{path} holds {len(tables)} tables: {', '.join(t.name for t in tables)}; give the path of one")
    table = tables[0]
    home = table.parent
    draft = Draft(
        home,
        category or home.resolve().name,
        f"rows of {table} whose defect is good and whose split is not test",
        f"their paths in the column mask of {table}",
    )
    for line, row in rows(table, ("image", "mask", "defect")):
        split = row.get("split", "").lower()
        if split not in ("", "train", "test"):
            raise DataError(f"{table} line {line}: split must be train, test or empty, got {row['split']!r}")
        if not row["image"]:
            raise DataError(f"{table} line {line}: the column image is empty")
        if not row["defect"] and row["mask"]:
            raise DataError(f"{table} line {line}: a mask but no defect; write the defect, or good for a good image")
        good = not row["defect"] or is_good(row["defect"])
        # The mask of a good image is kept, since `check` verifies that it is empty.
        mask = _beside(table, row["mask"]) if row["mask"] else None
        draft.add(_beside(table, row["image"]), mask, None if good else row["defect"], split)
    return draft


def _beside(table: Path, cell: str) -> Path:
    return table.parent / cell.replace("\\", "/")  # tables written on Windows
