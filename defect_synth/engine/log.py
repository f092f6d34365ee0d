"""The log of a run: rows in `stats.jsonl`, and the same numbers as TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from defect_synth.atomic import replacing
from defect_synth.errors import OutputError
from defect_synth.files import MIB, read_text

STATS = "stats.jsonl"
_MOST_BYTES = 1024 * MIB


class Tick:
    """Means of the logged terms over the iterations of one row of the log.

    Its sums are part of a snapshot, so that a run that stops between two rows goes on with the same means.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}

    def add(self, terms: Mapping[str, float]) -> None:
        """Add the terms of one iteration; those of a lazy phase are there only when it is its turn."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0.0) + 1

    def finish(self) -> dict[str, float]:
        """Return the means and start the next row."""
        means = {name: total / self._counts[name] for name, total in sorted(self._sums.items())}
        self._sums, self._counts = {}, {}
        return means

    def state(self) -> dict[str, float]:
        """Return the numbers that a snapshot needs; none right after `finish`."""
        sums = {f"tick_sum.{name}": value for name, value in self._sums.items()}
        return sums | {f"tick_count.{name}": value for name, value in self._counts.items()}

    def load(self, state: Mapping[str, float]) -> None:
        """Set what `state` returned; other numbers are ignored."""
        self._sums, self._counts = (
            {name.removeprefix(kind): value for name, value in state.items() if name.startswith(kind)}
            for kind in ("tick_sum.", "tick_count.")
        )


class Log:
    """The log of a run that begins, or goes on, at iteration `first`."""

    def __init__(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = folder / STATS
        _truncate(self._path, first)
        # Named by its start time, so a resumed run writes a further file.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first if first else None)

    def write(self, iteration: int, kimg: float, row: Mapping[str, float], images_per_second: float) -> None:
        """Append a row; the speed is only written to the file, as it differs between equal runs.

        Raises:
            OutputError: The file cannot be written.
        """
        whole = {"iteration": iteration, "kimg": kimg, **row, "images_per_second": images_per_second}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(whole) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}; free space, then use --resume") from error
        for name, value in row.items():
            self._board.add_scalar(name, value, iteration)

    def close(self) -> None:
        """Finish the event file."""
        self._board.close()


def _truncate(path: Path, iteration: int) -> None:
    """Remove rows after the snapshot that is being resumed, and a row that was cut in the middle."""
    if not path.exists():
        return
    rows = []
    for line in read_text(path, _MOST_BYTES).splitlines():
        try:
            kept = json.loads(line)["iteration"] <= iteration
        except (ValueError, RecursionError, TypeError, KeyError):
            continue
        if kept:
            rows.append(line + "\n")
    with replacing(path) as temporary:
        temporary.write_text("".join(rows), encoding="utf-8")
