"""Progress bars with time left on a terminal, sparse lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from defect_synth.cli.terminal import say
from defect_synth.names import printable


@contextmanager
def bar(description: str, *, percent: bool = False) -> Iterator[Callable[..., None]]:
    """Yield `update(done, total, description=None)`; writes to standard error.

    Args:
        description: What is done, where `update` does not say it.
        percent: The numbers count steps that mean nothing to the reader.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(description, percent)
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(printable(description), total=None)

        def update(done: float, total: float, text: str | None = None) -> None:
            progress.update(task, completed=done, total=total, description=printable(text or description))

        yield update


class _Lines:
    """For logs: a line when something starts, and then about one a minute."""

    def __init__(self, description: str, percent: bool = False) -> None:
        self._description, self._percent = description, percent
        self._last = self._start = time.monotonic()
        self._first = self._done = self._total = -1.0

    def __call__(self, done: float, total: float, text: str | None = None) -> None:
        now = time.monotonic()
        if total != self._total or done < self._done:  # something new, which may have been continued in its middle
            self._start, self._first, self._total = now, done, total
        self._done = done
        if now - self._last >= 60 or done >= total:
            self._last = now
            left = (now - self._start) * (total - done) / (done - self._first) if self._first < done < total else 0.0
            more = f", about {max(1, round(left / 60))} min left" if left else ""
            amount = f"{100 * done / max(1, total):.0f} %" if self._percent else f"{done:g} of {total:g}"
            say(f"{text or self._description}: {amount}{more}", error=True)
