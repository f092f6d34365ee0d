"""A table of the report as plain text, before Markdown, HTML or the terminal format it; and how numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from defect_synth.benchmark.results import Comparison

_MAX_PLAIN = 1e5  # untrained networks draw images with features far from any real ones


class ReportTable(NamedTuple):
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


def percent(value: float) -> str:
    """A share in percent with one digit."""
    return f"{100 * value:.1f}"


def number(value: float | None, digits: int) -> str:
    """A number with this many digits after the point; `-` for None."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < _MAX_PLAIN else f"{value:.2g}"


def number_range(values: Sequence[int]) -> str:
    """The value if all are equal, else the smallest and the largest."""
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def plural(count: int, noun: str) -> str:
    """A count and its noun, such as `2 partitions`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def difference_in_points(comparison: Comparison) -> str:
    """A difference with its interval, in percentage points."""
    low, high = 100 * comparison.low, 100 * comparison.high
    return f"{100 * comparison.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
