"""A table of the report as plain text, before Markdown, HTML or the terminal dress it."""

from __future__ import annotations

from typing import NamedTuple


class Grid(NamedTuple):
    """A table.

    Attributes:
        title: What it shows.
        head: Column names; the first column is left-aligned.
        rows: Cells.
        note: How to read it.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def text(self) -> str:
        """For a terminal: columns of equal width, the first one left-aligned."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(row)).rstrip()
            for row in (list(zip(cells, widths, strict=True)) for cells in (self.head, *self.rows))
        ]
        return "\n".join([self.title, *lines, *([self.note] if self.note else [])])


def percent(value: float) -> str:
    """A share in percent, one digit."""
    return f"{100 * value:.1f}"
