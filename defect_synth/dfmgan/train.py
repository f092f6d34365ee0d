"""One category from images to models: stage 1, then one stage 2 per defect, each resumable alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from defect_synth.data.check import check, require_trainable
from defect_synth.data.layouts import Table
from defect_synth.data.partitions import Partition
from defect_synth.data.store import ImageArrays, load
from defect_synth.dfmgan.config import StageName, TrainConfig
from defect_synth.dfmgan.pretrain import Pretrained, pretrain_stage
from defect_synth.dfmgan.transfer import transfer_stage
from defect_synth.engine.checkpoint import load_checkpoint
from defect_synth.engine.distributed import Processes, processes
from defect_synth.engine.loop import STATE, Ended, Report, run
from defect_synth.engine.run_folder import FIRST_METHOD, open_run_folder
from defect_synth.errors import CheckpointError, ConfigError, DataError, UnknownDefectError
from defect_synth.metrics.features import FeatureExtractor

log = logging.getLogger(__name__)

BACKBONE_SHARE = 0.6  # of a time budget; the defects share the rest


@dataclass(frozen=True)
class RunSummary:
    """What a call of `train_category` did: how each stage ended."""

    folder: Path
    stages: dict[str, Ended]


def train_category(
    table: Table,
    partition: Partition,
    config: TrainConfig,
    output: Path,
    *,
    defects: Sequence[str] | None = None,
    resume: bool = False,
    minutes: float | None = None,
    device: torch.device | None = None,
    features: FeatureExtractor | None = None,
    report: Report | None = None,
    on_stage: Callable[[str, int, int], None] | None = None,
) -> RunSummary:
    """Train a category into `output`; see `docs/formats.md` for the folder.

    Nothing but the base and validation parts of `partition` is read. Where this process is one of several (see
    `distributed`), all call this with the same arguments; `output` must be one folder that all of them see.

    Args:
        table: All images of the category.
        partition: Which of them may be learnt from.
        config: Everything else.
        output: Run folder.
        defects: Which defects; None: all.
        resume: Continue what is there.
        minutes: Time budget for this call: 60 % for the backbone, the rest shared by the defects.
        device: Where; None: the CPU.
        features: What snapshots are judged with.
        report: Called after every iteration.
        on_stage: Called before each stage with its name, training images and validation images.

    Raises:
        DataError: The images have errors that `defect-synth check` would name.
        CheckpointError: `output` holds another run, or one and `resume` is false.
        ConfigError: The processes cannot share the batches.
        UnknownDefectError: A defect that the category does not have.
    """
    device = device or torch.device("cpu")
    chosen = tuple(sorted(partition.defects) if defects is None else defects)
    for defect in chosen:
        if defect not in partition.defects:
            raise UnknownDefectError(defect, table.category, tuple(sorted(partition.defects)))
    if not chosen:
        raise DataError(f"{table.root} has no defect images to train on; expected test/<defect>/ with masks")
    require_trainable(check(table), chosen)
    partition.require_match(table)
    team = processes()
    require_shares(config, team)
    described = {
        "method": FIRST_METHOD, "category": table.category, "data": str(table.root), "partition": partition.name,
        "config": config.model_dump(mode="json"),
    }  # fmt: skip
    same = ("method", "category", "partition")
    team.from_first(lambda: open_run_folder(output, partition, described, same, resume=resume))
    started = time.monotonic()
    side, how = config.model.backbone.resolution, config.resize

    def arrays(part: str, defect: str | None) -> ImageArrays | None:
        records = partition.records(table, part, defect)  # type: ignore[arg-type]
        return load(records, side, how) if records else None

    def left() -> float | None:
        return None if minutes is None else max(0.0, minutes - (time.monotonic() - started) / 60)

    ended: dict[str, Ended] = {}
    backbone = output / "backbone"
    transferred = any((output / "defects").glob(f"*/{STATE}"))
    if team.from_first(lambda: transferred and (backbone / STATE).exists()):
        log.info("the backbone is kept as it is: defects were trained on it already")
    else:
        good, held = arrays("base", None), arrays("validation", None)
        if good is None:
            raise DataError(f"{table.root} has no defect-free training images")
        if on_stage is not None:
            on_stage("backbone", len(good), 0 if held is None else len(held))
        stage = pretrain_stage(config, table.category, good, held, device=device, features=features)
        budget = None if minutes is None else minutes * BACKBONE_SHARE
        ended["backbone"] = run(stage, backbone, resume=resume, minutes=budget, report=report)
        del stage
    pretrained = load_pretrained(backbone)
    for number, defect in enumerate(chosen):
        images, held = arrays("base", defect), arrays("validation", defect)
        if images is None or len(images) < 2:
            raise DataError(f"{defect} has fewer than 2 base images in partition {partition.name}; give it more images")
        if on_stage is not None:
            on_stage(defect, len(images), 0 if held is None else len(held))
        stage = transfer_stage(
            config, table.category, defect, images, held, pretrained, device=device, features=features
        )
        remaining = left()
        budget = None if remaining is None else remaining / (len(chosen) - number)
        ended[defect] = run(stage, output / "defects" / defect, resume=resume, minutes=budget, report=report)
    return RunSummary(output, ended)


def require_shares(config: TrainConfig, team: Processes) -> None:
    """Refuse processes that cannot share the batches evenly, before anything is written.

    Raises:
        ConfigError: Names the micro_batch that would do.
    """
    stages: tuple[StageName, ...] = ("pretrain", "transfer")
    for stage in stages:
        batch, size = getattr(config, stage).batch, config.micro_batch(stage)
        if batch // size % team.world:
            good = [s for s in config.micro_batches(stage) if batch // s % team.world == 0]
            way_out = f"--set {stage}.micro_batch={good[-1]}" if good else "another number of processes"
            raise ConfigError(
                f"{stage}: a batch of {batch} in parts of {size} cannot be shared evenly by {team.world} processes; "
                f"use {way_out}"
            )


def load_pretrained(folder: Path) -> Pretrained:
    """Read what stage 1 left in its folder.

    Raises:
        CheckpointError: Stage 1 has not got that far.
    """
    if not (folder / STATE).exists() or not (folder / "model.safetensors").exists():
        raise CheckpointError(f"{folder} has no finished backbone; continue it with --resume")
    state = load_checkpoint(folder / STATE, "training").tensors
    average = load_checkpoint(folder / "model.safetensors", "backbone").tensors

    def module(name: str) -> dict[str, torch.Tensor]:
        prefix = f"module.{name}."
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

    return Pretrained(module("backbone"), average, module("discriminator"), folder / STATE)
