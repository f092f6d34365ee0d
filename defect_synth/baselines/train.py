"""Train any of the systems from a partition's base set, and open what was trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from defect_synth.baselines.system import Materials, System
from defect_synth.config import override, validated
from defect_synth.data.check import check, require_trainable
from defect_synth.data.layouts import index
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.store import load
from defect_synth.engine.loop import Ended, Report, run
from defect_synth.engine.run_folder import PARTITION_FILE, RUN_FILE, open_run_folder, read_run_folder
from defect_synth.errors import CheckpointError, ConfigError, DataError, UnknownDefectError
from defect_synth.samples import DefectSource, Pixels

SYSTEMS = {
    "finetune": ("finetune", "Finetune"),
    "diffaug": ("diffaug", "DiffAug"),
    "cdc": ("cdc", "CDC"),
    "sdgan": ("sdgan", "SDGAN"),
    "defect-gan": ("defect_gan", "DefectGAN"),
}
"""Method -> file of `baselines` and class of its settings."""


def system_of(method: str) -> type[System]:
    """The settings' class of a method.

    Raises:
        ConfigError: An unknown method.
    """
    if method not in SYSTEMS:
        raise ConfigError(f"unknown method {method!r}; known: dfmgan, painter, {', '.join(SYSTEMS)}")
    file, name = SYSTEMS[method]
    found: type[System] = getattr(import_module(f"defect_synth.baselines.{file}"), name)
    return found


def settings_of(
    method: str, preset: str, *, resolution: int | None = None, seed: int = 0, changes: dict[str, Any] | None = None
) -> System:
    """A preset with changes.

    Args:
        method: One of `SYSTEMS`.
        preset: `fast` or `paper`.
        resolution: Side of the images; None: the preset's.
        seed: Of everything random in training.
        changes: Dotted field name -> value.

    Raises:
        ConfigError: An unknown name, or a value out of its bounds.
    """
    kind = system_of(method)
    if preset not in ("fast", "paper"):
        raise ConfigError(f"unknown preset {preset!r} for --method {method}; known: fast, paper")
    system = kind.preset("fast" if preset == "fast" else "paper").at(resolution, seed)
    assert isinstance(system, BaseModel)
    found: System = override(system, changes or {})
    return found


def train_system(
    system: System,
    table: Table,
    partition: Partition,
    folder: Path,
    *,
    defects: Sequence[str] | None = None,
    resume: bool = False,
    minutes: float | None = None,
    device: torch.device | None = None,
    report: Report | None = None,
) -> dict[str, Ended]:
    """Train a system into `folder`; how each of its steps ended, by the step's folder.

    Nothing but the base part of `partition` is read: these systems choose no snapshot, the last one counts.

    Args:
        system: What to train, with its settings.
        table: All images of the category.
        partition: Which of them may be learnt from.
        folder: Run folder.
        defects: Which defects; None: all.
        resume: Continue what is there.
        minutes: Time budget for this call, shared out by the steps' shares; what one leaves goes to the rest.
        device: Where; None: the CPU.
        report: Called after every iteration.

    Raises:
        DataError: The images have errors that `defect-synth check` would name.
        CheckpointError: `folder` holds another run, or one and `resume` is false.
        UnknownDefectError: A defect that the category does not have.
    """
    started = time.monotonic()
    chosen = tuple(sorted(partition.defects if defects is None else set(defects)))
    for defect in chosen:
        if defect not in partition.defects:
            raise UnknownDefectError(defect, table.category, tuple(sorted(partition.defects)))
    if not chosen:
        raise DataError(f"{table.root} has no defect images to train on; expected test/<defect>/ with masks")
    require_trainable(check(table), chosen)
    partition.require_match(table)
    described = {
        "method": system.method, "category": table.category, "data": str(table.root), "partition": partition.name,
        "defects": list(chosen), "settings": system.model_dump(mode="json"),
    }  # fmt: skip
    same = ("method", "category", "partition", "defects", "settings")
    open_run_folder(folder, partition, described, same, resume=resume)
    steps = list(system.steps(_materials(system, table, partition, chosen), folder, device or torch.device("cpu")))
    ended = {}
    for number, step in enumerate(steps):
        budget = None
        if minutes is not None:
            left = max(0.0, minutes - (time.monotonic() - started) / 60)
            budget = left * step.share / sum(other.share for other in steps[number:])
        ended[step.folder] = run(step.build(), folder / step.folder, resume=resume, minutes=budget, report=report)
    return ended


def is_system(folder: Path) -> bool:
    """Whether a folder is a run of one of the systems here."""
    return (folder / RUN_FILE).is_file() and read_run_folder(folder)["method"] in SYSTEMS


def open_system(folder: Path, *, good: Pixels | None = None, device: torch.device | str = "cpu") -> DefectSource:
    """A source from what `train_system` wrote.

    Args:
        folder: The run folder.
        good: uint8 [N, R, R, 3], the images that a system which changes images starts from; None: those it was trained
            on, from the data folder that the run names.
        device: Where to sample.

    Raises:
        CheckpointError: No run of a system is there, or it is not finished.
        DataError: The run's data folder has gone, and `good` is None.
    """
    values = read_run_folder(folder)
    if values["method"] not in SYSTEMS:
        raise CheckpointError(f"{folder} is a run of {values['method']}, not of {', '.join(SYSTEMS)}")
    try:
        system = _settings(str(values["method"]), values["settings"])
        category, defects = str(values["category"]), [str(name) for name in values["defects"]]
    except (ConfigError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / RUN_FILE} cannot be read by this version ({error})") from None
    if good is None and system.changes_images:
        root = Path(str(values["data"]))
        if not root.exists():
            raise DataError(f"{values['method']} changes good images, and {root}, whose images it learnt from, is gone")
        table = index(root, category if (root / category).is_dir() else None)
        partition = Partition.load(folder / PARTITION_FILE)
        good = load(partition.records(table, "base", None), system.resolution, "letterbox").images
    nothing = np.zeros((0, system.resolution, system.resolution, 3), np.uint8)
    return system.open(folder, category, defects, nothing if good is None else good, torch.device(device))


def _settings(method: str, values: Any) -> System:
    kind = system_of(method)
    assert issubclass(kind, BaseModel)
    found: System = validated(kind, values)
    return found


def _materials(system: System, table: Table, partition: Partition, defects: Sequence[str]) -> Materials:
    good = partition.records(table, "base", None)
    if not good:
        raise DataError(f"{table.root} has no defect-free training images")
    images = {}
    for defect in defects:
        records = partition.records(table, "base", defect)
        if len(records) < 2:
            raise DataError(f"{defect} has fewer than 2 base images in partition {partition.name}; give it more images")
        images[defect] = load(records, system.resolution, "letterbox")
    return Materials(table.category, load(good, system.resolution, "letterbox"), images)
