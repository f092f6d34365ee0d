"""Progress of the whole benchmark, from estimates of how long its parts take."""

from __future__ import annotations

from collections.abc import Callable

ProgressCallback = Callable[[str, float, float], None]
"""Called with (what is being done, amount done, total amount)."""

StepCallback = Callable[[float, float], None]
"""Called with (amount done, total amount)."""


class OverallProgress:
    """Adds up parts of different lengths into one percentage.

    Args:
        callback: Called with (what is being done, percent done, 100); None: nobody is watching.
        total: Sum of the lengths of all parts, in any unit.
    """

    def __init__(self, callback: ProgressCallback | None, total: float) -> None:
        self._callback, self._total, self._done = callback, max(total, 1e-9), 0.0

    def update(self, text: str, length: float, done: float, total: float) -> None:
        """Report that a part of this length has reached `done` out of `total`."""
        if self._callback is not None:
            share = (self._done + length * min(1.0, done / max(total, 1e-9))) / self._total
            self._callback(text, round(100 * min(share, 0.999), 1), 100)

    def part(self, text: str, length: float) -> StepCallback:
        """A callback that reports the progress of one part of this length."""
        return lambda done, total: self.update(text, length, done, total)

    def complete(self, length: float) -> None:
        """Count a part of this length as finished, whether it was done or skipped."""
        self._done += length

    def finish(self, text: str) -> None:
        """Report that everything is finished."""
        if self._callback is not None:
            self._callback(text, 100, 100)
