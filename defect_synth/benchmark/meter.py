"""How far the whole benchmark is, from guesses of how long its parts take."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, float, float], None]
"""Called with (text, done, total)."""


class Meter:
    """Adds up parts of unequal length into one bar.

    Args:
        report: Called with (text, percent done, 100).
        total: Sum of the lengths of all parts.
    """

    def __init__(self, report: Report | None, total: float) -> None:
        self._report, self._total, self._done = report, max(total, 1e-9), 0.0

    def within(self, text: str, length: float, done: float, total: float) -> None:
        """A part of this length is at `done` of `total`."""
        if self._report is not None:
            share = (self._done + length * min(1.0, done / max(total, 1e-9))) / self._total
            self._report(text, round(100 * min(share, 0.999), 1), 100)

    def finish(self, length: float) -> None:
        """A part of this length is done, or was skipped."""
        self._done += length

    def end(self, text: str) -> None:
        """All is done."""
        if self._report is not None:
            self._report(text, 100, 100)
