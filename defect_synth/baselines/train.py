"""Train any of the systems on the base images of a partition, and open what was trained."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel

from defect_synth.baselines import SYSTEMS
from defect_synth.baselines.system import System, TrainingSet
from defect_synth.config import override, shortened, validated
from defect_synth.data.layouts import index
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.store import load
from defect_synth.engine.loop import Ended, Report
from defect_synth.engine.run_folder import PARTITION_FILE, RUN_FILE, read_run_folder
from defect_synth.engine.runner import CPU, Step, TrainingRequest, train
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.names import require_name
from defect_synth.samples import DefectSource, Pixels

_MIN_IMAGES = 2  # of a defect


def system_of(method: str) -> type[System]:
    """The class of a method's settings; only its own modules are imported.

    Raises:
        ConfigError: An unknown method.
    """
    if method not in SYSTEMS:
        raise ConfigError(f"unknown method {method!r}; known: dfmgan, painter, {', '.join(SYSTEMS)}")
    module, name = SYSTEMS[method].split(".")
    system: type[System] = getattr(importlib.import_module(f"defect_synth.baselines.{module}"), name)
    return system


def settings_of(
    method: str, preset: str, *, resolution: int | None = None, seed: int = 0, changes: dict[str, Any] | None = None
) -> System:
    """The settings of a preset, with changes.

    Args:
        method: One of `SYSTEMS`.
        preset: `fast` or `paper`.
        resolution: Side of the images in pixels; None: that of the preset.
        seed: Seed of everything random in training.
        changes: Dotted field name -> value.

    Raises:
        ConfigError: An unknown name, a setting without effect, or a value out of its bounds.
    """
    kind = system_of(method)
    for name in changes or {}:
        if any(name == unused or name.startswith(f"{unused}.") for unused in kind.unused):
            raise ConfigError(f"{name} has no effect on --method {method}; leave it out")
    if preset not in ("fast", "paper"):
        raise ConfigError(f"unknown preset {preset!r} for --method {method}; known: fast, paper")
    system = kind.preset("fast" if preset == "fast" else "paper").at(resolution, seed)
    assert isinstance(system, BaseModel)
    changed: System = override(system, changes or {})
    return changed


@dataclass(frozen=True)
class BaselineMethod:
    """A system as a method that `engine.runner.train` can train.

    It reads the base images of the partition alone: no snapshot is chosen, so no validation images are needed.

    Attributes:
        system: What to train, with its settings.
    """

    system: System

    must_match: ClassVar[tuple[str, ...]] = ("defects", "settings")
    options: ClassVar[frozenset[str]] = frozenset({"preset", "resolution", "set", "device"})

    @property
    def method(self) -> str:
        """The method of the system."""
        return self.system.method

    def described(self) -> dict[str, Any]:
        """The settings as plain values for `run.json`."""
        return {"settings": self.system.model_dump(mode="json")}

    def require_possible(self, request: TrainingRequest) -> None:
        """Refuse a partition with too few images before anything is written.

        Raises:
            DataError: There is no normal image, or there are fewer than two images of a defect.
        """
        table, partition = request.table, request.partition
        if not partition.records(table, "base", None):
            raise DataError(f"{table.root} has no normal images to train on; expected them in train/good/")
        for defect in request.chosen_defects:
            if len(partition.records(table, "base", defect)) < _MIN_IMAGES:
                raise DataError(
                    f"{defect} has fewer than {_MIN_IMAGES} base images in partition {partition.name}; "
                    "give it more images"
                )

    def steps(self, request: TrainingRequest) -> Sequence[Step]:
        """The stages of the system."""
        training = load_training_set(request.table, request.partition, request.chosen_defects, self.system.resolution)
        return self.system.steps(training, request.output, request.device)


def load_training_set(table: Table, partition: Partition, defects: Sequence[str], resolution: int) -> TrainingSet:
    """Read the base images of a partition, letterboxed to squares.

    Args:
        table: All images of the category.
        partition: Which of them may be learnt from.
        defects: Defect categories.
        resolution: Side of the squares in pixels.

    Raises:
        DataError: An image or a mask cannot be read.
    """
    normal = load(partition.records(table, "base", None), resolution, "letterbox")
    images = {defect: load(partition.records(table, "base", defect), resolution, "letterbox") for defect in defects}
    return TrainingSet(table.category, normal, images)


def train_system(
    system: System,
    table: Table,
    partition: Partition,
    output: Path,
    *,
    defects: Sequence[str] | None = None,
    resume: bool = False,
    minutes: float | None = None,
    device: torch.device | None = None,
    report: Report | None = None,
) -> dict[str, Ended]:
    """Train a system into `output`; see `engine.runner.train`.

    Args:
        system: What to train, with its settings.
        table: All images of the category.
        partition: Which of them may be learnt from.
        output: Run folder.
        defects: Defect categories; None: all.
        resume: Continue what is in `output`.
        minutes: Time budget for this call; None: until the training is complete.
        device: Where to train; None: the CPU.
        report: Called after every iteration.

    Returns:
        How each stage ended: by defect category, `backbone` for a first stage on normal images, `defect-gan` for the
        single stage of Defect-GAN.
    """
    request = TrainingRequest(table, partition, output, defects, device or CPU, resume, minutes, report)
    return train(BaselineMethod(system), request)


def is_system(folder: Path) -> bool:
    """Whether a folder is a run of one of `SYSTEMS`."""
    return (folder / RUN_FILE).is_file() and read_run_folder(folder)["method"] in SYSTEMS


def open_system(folder: Path, *, normal: Pixels | None = None, device: torch.device | str = "cpu") -> DefectSource:
    """A source of samples from a run folder that `train_system` wrote.

    Args:
        folder: The run folder.
        normal: Normal images for a system that changes images, uint8 [N, R, R, 3]; None: those that it was trained on,
            read again from the data folder that the run names.
        device: Where to sample.

    Raises:
        CheckpointError: The folder holds no run of a system, or one that is not finished.
        DataError: The data folder of the run is gone, and `normal` is None.
    """
    values = read_run_folder(folder)
    if values["method"] not in SYSTEMS:
        raise CheckpointError(f"{folder} is a run of {values['method']}, not of {', '.join(SYSTEMS)}")
    run = folder / RUN_FILE
    try:
        system = _settings(str(values["method"]), values["settings"])
        category = require_name(str(values["category"]), run)
        defects = [require_name(str(name), run) for name in values["defects"]]
        root = Path(str(values["data"]))
    except KeyError as error:
        raise CheckpointError(f"{run} has no entry {error}; copy the run folder again") from None
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{run} cannot be read by this version ({error})") from None
    if normal is None and system.changes_images:
        if not os.path.exists(root):  # unlike Path.exists, also for what cannot be a path
            raise DataError(
                f"{values['method']} changes normal images, but {shortened(str(root))}, the data folder of the run, is "
                "gone; put it back where it was"
            )
        table = index(root, category if (root / category).is_dir() else None)
        partition = Partition.load(folder / PARTITION_FILE)
        normal = load(partition.records(table, "base", None), system.resolution, "letterbox").images
    none = np.zeros((0, system.resolution, system.resolution, 3), np.uint8)
    return system.open(folder, category, defects, none if normal is None else normal, torch.device(device))


def _settings(method: str, values: Any) -> System:
    kind = system_of(method)
    assert issubclass(kind, BaseModel)
    system: System = validated(kind, values)
    return system
