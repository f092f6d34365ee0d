"""Train DFMGANs for a category: stage 1 on its normal images, then one stage 2 for each defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from defect_synth.data.partitions import Partition
from defect_synth.data.records import Table
from defect_synth.data.store import ImageArrays, load
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import StageName, TrainConfig
from defect_synth.dfmgan.pretrain import BACKBONE, Pretrained, PretrainStage
from defect_synth.dfmgan.transfer import TransferStage
from defect_synth.engine.checkpoint import TrainingCard, load_checkpoint
from defect_synth.engine.distributed import Processes, processes
from defect_synth.engine.loop import MODEL_FILE, Ended, Report
from defect_synth.engine.runner import CPU, Step, TrainingRequest, train
from defect_synth.engine.snapshot import STATE
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.metrics.features import FeatureExtractor

_BACKBONE_SHARE = 0.6  # of a time budget; the defects share the rest
_MIN_IMAGES = 2  # of a defect


@dataclass(frozen=True)
class DFMGANMethod:
    """The paper's method, for `engine.runner.train`.

    Attributes:
        config: Settings of both stages.
        features: Features that snapshots are compared by; None: random convolutions.
    """

    config: TrainConfig
    features: FeatureExtractor | None = None

    method: ClassVar[str] = "dfmgan"
    must_match: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[frozenset[str]] = frozenset(
        {"preset", "resolution", "set", "device", "precision", "protocol", "safe_augment", "features", "max_memory"}
    )

    def described(self) -> dict[str, Any]:
        """The settings as plain values for `run.json`."""
        return {"config": self.config.model_dump(mode="json")}

    def require_possible(self, request: TrainingRequest) -> None:
        """Refuse what cannot be trained before anything is written.

        Raises:
            ConfigError: Several processes cannot share the batches evenly.
            DataError: There are no normal images, or too few of a defect.
        """
        require_shares(self.config, processes())
        partition, table = request.partition, request.table
        if not partition.records(table, "base", None):
            raise DataError(f"{table.root} has no normal images to train on; expected them in train/good/")
        for defect in request.chosen_defects:
            if len(partition.records(table, "base", defect)) < _MIN_IMAGES:
                raise DataError(
                    f"{defect} has fewer than {_MIN_IMAGES} base images in partition {partition.name}; "
                    "give it more images"
                )

    def steps(self, request: TrainingRequest) -> Sequence[Step]:
        """The backbone, then each defect; the images of a step are read when it begins."""
        backbone = Step(BACKBONE, BACKBONE, partial(self._pretrain, request), _BACKBONE_SHARE, basis=True)
        defects = request.chosen_defects
        share = (1 - _BACKBONE_SHARE) / len(defects)
        return [
            backbone,
            *(Step(defect, f"defects/{defect}", partial(self._transfer, request, defect), share) for defect in defects),
        ]

    def _pretrain(self, request: TrainingRequest) -> PretrainStage:
        images = self._images(request, "base", None)
        assert images is not None  # see `require_possible`
        return PretrainStage(
            self.config, request.table.category, images, self._images(request, "validation", None),
            device=request.device, features=self.features,
        )  # fmt: skip

    def _transfer(self, request: TrainingRequest, defect: str) -> TransferStage:
        images = self._images(request, "base", defect)
        assert images is not None  # see `require_possible`
        return TransferStage(
            self.config, request.table.category, defect, images, self._images(request, "validation", defect),
            load_pretrained(request.output / BACKBONE), device=request.device, features=self.features,
        )  # fmt: skip

    def _images(self, request: TrainingRequest, part: str, defect: str | None) -> ImageArrays | None:
        records = request.partition.records(request.table, part, defect)  # type: ignore[arg-type]
        return load(records, self.config.model.backbone.resolution, self.config.resize) if records else None


def train_dfmgan(
    table: Table,
    partition: Partition,
    config: TrainConfig,
    output: Path,
    *,
    defects: Sequence[str] | None = None,
    resume: bool = False,
    minutes: float | None = None,
    device: torch.device = CPU,
    features: FeatureExtractor | None = None,
    report: Report | None = None,
) -> dict[str, Ended]:
    """Train a category into the run folder `output`; how each step ended: `backbone`, then each defect.

    Only the base and validation parts of `partition` are read. Where this process is one of several (see
    `engine.distributed`), all of them call this with the same arguments, and `output` must be one folder that all of
    them see.

    Args:
        table: All images of the category.
        partition: Which of them may be learnt from.
        config: Settings of both stages.
        output: Run folder, described in `docs/formats.md`.
        defects: Defect categories; None: all.
        resume: Continue what is in `output`.
        minutes: Time budget of this call: 60 % for the backbone, the rest shared by the defects.
        device: Where to train.
        features: Features that snapshots are compared by; None: random convolutions.
        report: Called after every iteration.

    Raises:
        DataError: The images have errors that `defect-synth check` would name, or there are too few.
        CheckpointError: `output` holds another run, or one and `resume` is false.
        ConfigError: Several processes cannot share the batches.
        UnknownDefectError: A defect that the category does not have.
    """
    request = TrainingRequest(table, partition, output, defects, device, resume, minutes, report)
    return train(DFMGANMethod(config, features), request)


def require_shares(config: TrainConfig, team: Processes) -> None:
    """Refuse processes that cannot share the batches evenly.

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
    """Read what stage 1 has left in its folder.

    Raises:
        CheckpointError: Stage 1 has not yet taken a snapshot.
    """
    state_file, model_file = folder / STATE, folder / MODEL_FILE
    if not state_file.exists() or not model_file.exists():
        raise CheckpointError(f"{folder} has no finished backbone; continue it with --resume")
    state = load_checkpoint(state_file, TrainingCard).tensors
    average = load_checkpoint(model_file, DFMGANCard, "backbone").tensors

    def module(name: str) -> dict[str, Tensor]:
        prefix = f"module.{name}."
        return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}

    return Pretrained(module("backbone"), average, module("discriminator"), state_file)
