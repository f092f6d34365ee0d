"""Charts as inline SVG without scripts; colours come from the page, so that light and dark are both legible."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

_WIDTH = 760
_LABELS = 250
_LARGEST = 1e12  # no axis goes further


class Bar(NamedTuple):
    """One line of a forest plot, in percentage points; `kind` is `up`, `down` or `flat` and sets the colour."""

    label: str
    value: float
    low: float
    high: float
    text: str
    kind: str = "flat"


class Series(NamedTuple):
    """One line of a line chart."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def forest_plot(bars: Sequence[Bar], title: str) -> Markup:
    """An SVG of differences with their intervals around a line at 0."""
    row, top = 30, 26
    right = 190
    height = top + row * len(bars) + 34
    reach = max(1.0, *(abs(v) for bar in bars for v in (bar.low, bar.high, bar.value))) * 1.08
    step = _nice(reach / 3)
    left, width = _LABELS, _WIDTH - _LABELS - right

    def x(value: float) -> float:
        return left + width * (value + reach) / (2 * reach)

    parts = [_open(_WIDTH, height, title)]
    bottom = top + row * len(bars)
    for i in range(-int(reach / step), int(reach / step) + 1):
        at = x(i * step)
        kind = "zero" if i == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{at:.1f}" x2="{at:.1f}" y1="{top - 8}" y2="{bottom}"/>')
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{_signed(i * step)}</text>'
        )
    for number, bar in enumerate(bars):
        y = top + row * (number + 0.5)
        kind = bar.kind
        parts.append(f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(bar.label)}</text>')
        parts.append(
            f'<line class="bar {kind}" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts += [
            f'<line class="bar {kind}" x1="{x(end):.1f}" x2="{x(end):.1f}" y1="{y - 5:.1f}" y2="{y + 5:.1f}"/>'
            for end in (bar.low, bar.high)
        ]
        parts.append(f'<circle class="dot {kind}" cx="{x(bar.value):.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text class="tick" x="{_WIDTH - right + 14}" y="{y + 4:.1f}">{escape(bar.text)}</text>')
    parts.append(
        f'<text class="tick" x="{x(0):.1f}" y="{bottom + 31}" text-anchor="middle">difference in points</text></svg>'
    )
    return Markup("".join(parts))  # every text in it is escaped


def line_chart(series: Sequence[Series], title: str, x_name: str, y_name: str) -> Markup:
    """An SVG of lines with dots, and a legend that names every series.

    Points that are no numbers, such as the loss of a training that diverged, are left out; their line ends there.
    """
    series = [_finite(line) for line in series]
    height, left, top, right = max(230, 40 + 20 * len(series)), 52, 16, 260
    width, tall = _WIDTH - left - right, height - top - 44
    xs, ys = [v for s in series for v in s.x] or [0.0], [v for s in series for v in s.y] or [0.0]
    x_low, x_high = min(xs), max(xs)
    x_high = x_high if x_high > x_low else x_low + 1
    step = _nice((max(ys) - min(ys)) / 4 or 1)
    y_low, y_high = math.floor(min(ys) / step) * step, math.ceil(max(ys) / step) * step
    y_high = y_high if y_high > y_low else y_low + step

    def place(x: float, y: float) -> tuple[float, float]:
        return left + width * (x - x_low) / (x_high - x_low), top + tall * (1 - (y - y_low) / (y_high - y_low))

    parts = [_open(_WIDTH, height, title)]
    for i in range(round((y_high - y_low) / step) + 1):
        value = y_low + i * step
        _, y = place(x_low, value)
        parts.append(f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in sorted(set(xs))[:: max(1, len(set(xs)) // 8)]:
        x, _ = place(value, y_low)
        parts.append(f'<text class="tick" x="{x:.1f}" y="{top + tall + 18}" text-anchor="middle">{value:g}</text>')
    for number, line in enumerate(series):
        points = [place(x, y) for x, y in zip(line.x, line.y, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="s{number % 8}" points="{path}"/>')
        parts += [f'<circle class="s{number % 8}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
        y_legend = top + 8 + 20 * number
        parts.append(f'<circle class="s{number % 8}" cx="{left + width + 20}" cy="{y_legend}" r="5"/>')
        parts.append(f'<text class="tick" x="{left + width + 32}" y="{y_legend + 4}">{escape(line.label)}</text>')
    parts.append(
        f'<text class="tick" x="{left + width / 2:.1f}" y="{height - 6}" text-anchor="middle">{escape(x_name)}</text>'
        f'<text class="tick" transform="translate(12 {top + tall / 2:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_name)}</text></svg>"
    )
    return Markup("".join(parts))  # every text in it is escaped


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str], title: str) -> Markup:
    """An SVG of a confusion matrix. Rows are the truth; the darker a cell, the larger its share of the row."""
    side, left, top = 46, 78, 40
    size = len(classes)
    width, height = left + side * size + 6, top + side * size + 6
    parts = [_open(width, height, title, fixed=True)]
    for i, name in enumerate(classes):
        at = side * (i + 0.5)
        parts.append(f'<text class="tick" x="{left + at}" y="{top - 8}" text-anchor="middle">{escape(name[:8])}</text>')
        parts.append(
            f'<text class="tick" x="{left - 8}" y="{top + at + 4}" text-anchor="end">{escape(name[:11])}</text>'
        )
    for i, row in enumerate(counts):
        total = max(1, sum(row))
        for j, count in enumerate(row):
            share = count / total
            x, y = left + side * j, top + side * i
            kind = "right" if i == j else "wrong"
            parts.append(
                f'<rect class="{kind}" x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" rx="4" '
                f'fill-opacity="{0.06 + 0.74 * share:.2f}"/>'
                f'<text class="cell" x="{x + side / 2}" y="{y + side / 2 + 4}" text-anchor="middle">{count}</text>'
            )
    return Markup("".join([*parts, "</svg>"]))  # every text in it is escaped


def _open(width: int, height: int, title: str, fixed: bool = False) -> str:
    size = f'width="{width}" height="{height}"' if fixed else 'width="100%"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" '
        f'viewBox="0 0 {width} {height}" '
        f"{size}><title>{escape(title)}</title>"
    )


def _finite(line: Series) -> Series:
    points = [(x, y) for x, y in zip(line.x, line.y, strict=True) if abs(x) < _LARGEST and abs(y) < _LARGEST]
    return Series(line.label, tuple(x for x, _ in points), tuple(y for _, y in points))


def _signed(value: float) -> str:
    return f"{value:+g}" if value else "0"


def _nice(value: float) -> float:
    """1, 2 or 5 times a power of ten, not below `value`."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= value * 0.999)
