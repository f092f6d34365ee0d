"""The log of a run: one row per tick in `stats.jsonl`, the same numbers as TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from defect_synth.atomic import replacing
from defect_synth.errors import OutputError

STATS = "stats.jsonl"


class Tick:
    """Running means of what the phases report, from one row of the log to the next.

    Its sums are part of a snapshot taken in the middle of a tick, so that a row never forgets the iterations before a
    stop.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}

    def add(self, terms: Mapping[str, float]) -> None:
        """One iteration's numbers; lazy phases report only when it is their turn."""
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._counts[name] = self._counts.get(name, 0.0) + 1

    def finish(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: total / self._counts[name] for name, total in sorted(self._sums.items())}
        self._sums, self._counts = {}, {}
        return means

    def state(self) -> dict[str, float]:
        """Numbers for a snapshot; none at the end of a tick."""
        sums = {f"tick_sum.{name}": value for name, value in self._sums.items()}
        return sums | {f"tick_count.{name}": value for name, value in self._counts.items()}

    def load(self, state: Mapping[str, float]) -> None:
        """The inverse of `state`; other numbers are passed over."""
        self._sums, self._counts = (
            {name.removeprefix(kind): value for name, value in state.items() if name.startswith(kind)}
            for kind in ("tick_sum.", "tick_count.")
        )


class Log:
    """Rows and events of a run that begins, or goes on, at iteration `first`."""

    def __init__(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = folder / STATS
        _truncate(self._path, first)
        # Named by its start: one file per resumed part, none overwritten.
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=first if first else None)

    def write(self, iteration: int, kimg: float, row: Mapping[str, float], images_per_second: float) -> None:
        """Append a row. The speed is for the file only: it is no property of the run.

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
    """Drop log rows after the snapshot that is being resumed, and a row that was cut in half."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if row["iteration"] <= iteration:
            kept.append(line + "\n")
    with replacing(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")
