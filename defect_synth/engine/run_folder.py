"""The folder of a run: its settings are written first, and a resumed run must have the same."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from defect_synth.atomic import LOCK, replacing
from defect_synth.data.partitions import Partition
from defect_synth.engine.checkpoint import library_versions
from defect_synth.errors import CheckpointError, DataError
from defect_synth.files import read_json

log = logging.getLogger(__name__)

RUN_FILE = "run.json"
PARTITION_FILE = "partition.json"
FIRST_METHOD = "dfmgan"
"""The method of runs from before `run.json` named it."""


def open_run_folder(
    output: Path, partition: Partition, described: Mapping[str, Any], must_match: Sequence[str], *, resume: bool
) -> None:
    """Write `run.json` and `partition.json` of a new run, or compare those that are there.

    A resumed run may use another number of threads: how many there are is often a scheduler's choice, so they are left
    as they are. Sums are then rounded in another order, so a line in the log says how to go on exactly.

    Args:
        output: Run folder.
        partition: Images that may be learnt from.
        described: Plain values that say what is trained: `method`, `category`, `config`, ...
        must_match: Names of the values that a resumed run must share; its snapshots compare the rest.
        resume: Whether a run may be there.

    Raises:
        CheckpointError: Another run is there, or one and `resume` is false, or a folder that does not hold a run.
        OutputError: A file cannot be written.
    """
    path = output / RUN_FILE
    if path.exists():
        if not resume:
            raise CheckpointError(f"{output} holds a run already; continue it with --resume or choose another --output")
        before = read_run_folder(output)
        for name in must_match:
            if before.get(name) != described[name]:
                raise CheckpointError(
                    f"{output} was started with {name} {before.get(name)!r}, now {described[name]!r}; "
                    "use the same or another --output"
                )
        warn_of_other_threads(output, before.get("threads"), described.get("threads"))
        return
    content = (partition.model_dump_json(indent=2) + "\n").encode()
    if output.exists() and not all(_is_ours(entry, content) for entry in output.iterdir()):
        raise CheckpointError(f"{output} exists and is not a run folder; choose another --output")
    with replacing(output / PARTITION_FILE) as temporary:
        temporary.write_bytes(content)
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({**described, "versions": library_versions()}, indent=2) + "\n", encoding="utf-8"
        )


def warn_of_other_threads(output: Path, before: Any, now: Any) -> None:
    """Log one line if a run goes on with another number of threads than it began with.

    Args:
        output: Its folder.
        before: The number that was stored; None where an earlier version stored none.
        now: The number of this process.
    """
    if isinstance(before, int) and before != now:
        log.warning(
            "%s was started with %d threads and goes on with %s, so its numbers can differ in their last bits from "
            "those of a run without interruption; set OMP_NUM_THREADS=%d for the same bytes",
            output, before, now, before,
        )  # fmt: skip


def _is_ours(entry: Path, partition: bytes) -> bool:
    """Whether this is what a run that is beginning, or was killed at once, has in its folder before `run.json`."""
    return entry.name == LOCK or (entry.name == PARTITION_FILE and entry.is_file() and entry.read_bytes() == partition)


def read_run_folder(output: Path) -> dict[str, Any]:
    """The values in `run.json`.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    path = output / RUN_FILE
    if not path.exists():
        raise CheckpointError(f"{output} has no {RUN_FILE}; give a folder that `defect-synth train` wrote")
    try:
        values = read_json(path)
    except DataError as error:
        raise CheckpointError(f"{path} is damaged; restore it or choose another --output ({error})") from None
    if not isinstance(values, dict) or not isinstance(values.get("method", FIRST_METHOD), str):
        raise CheckpointError(f"{path} is damaged; restore it or choose another --output (no settings of a run in it)")
    return {"method": FIRST_METHOD, **values}
