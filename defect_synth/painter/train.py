"""Training a painter from the images of a category: `defect-synth train --method painter`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from defect_synth.data.partitions import Partition
from defect_synth.data.records import Record, Table
from defect_synth.data.square import read_limited
from defect_synth.engine.checkpoint import TrainingCard, load_checkpoint
from defect_synth.engine.loop import MODEL_FILE, Ended, Report
from defect_synth.engine.runner import Step, TrainingRequest, train
from defect_synth.errors import CheckpointError, DataError
from defect_synth.painter.checkpoint import PAINTER_FOLDER
from defect_synth.painter.config import PainterConfig
from defect_synth.painter.discriminators import FrozenFeatures, Lite0Features
from defect_synth.painter.distill import draw_triplets, shared_defects
from defect_synth.painter.stages import BackboneStage, PainterStage
from defect_synth.painter.training_images import DefectImage, NormalImage
from defect_synth.painter.training_set import PainterTrainingSet
from defect_synth.product.arrangement import Arrangement, find_arrangement
from defect_synth.product.foreground import find_foreground
from defect_synth.product.symmetry import Symmetry
from defect_synth.samples import DefectSource

log = logging.getLogger(__name__)

BACKBONE_SHARE = 0.3  # of a time budget
_BACKBONE_FOLDER = f"{PAINTER_FOLDER}/backbone"


@dataclass(frozen=True, eq=False)
class PainterMethod:
    """One painter for all defects of a category; trains on the CPU.

    Attributes:
        config: Settings of the networks and of both stages.
        features: EfficientNet-Lite0 weights for the discriminators; None: discriminators that need no weights.
        dfmgan: A trained DFMGAN of the category, of whose samples `config.triplets` for each defect are learnt from.
        symmetry: How the product may be moved; None: as found in its normal images.
    """

    method: ClassVar[str] = "painter"
    options: ClassVar[frozenset[str]] = frozenset({"preset", "resolution", "set", "features", "from_dfmgan", "pose"})
    must_match: ClassVar[tuple[str, ...]] = ("defects", "dfmgan")

    config: PainterConfig
    features: Path | None = None
    dfmgan: DefectSource | None = None
    symmetry: Symmetry | None = None

    def described(self) -> dict[str, Any]:
        """The settings as plain values for `run.json`."""
        return {
            "config": self.config.model_dump(mode="json"),
            "dfmgan": None if self.dfmgan is None else self.dfmgan.digest,
        }

    def require_possible(self, request: TrainingRequest) -> None:
        """Refuse what cannot be trained before anything is written.

        Raises:
            DataError: There are no normal images, or a defect has no image in the base part.
            ConfigError: The DFMGAN draws another category, or none of the defects.
        """
        table, partition = request.table, request.partition
        for defect in request.chosen_defects:
            if not partition.records(table, "base", defect):
                raise DataError(f"{defect} has no base image in partition {partition.name}; give it one with a mask")
        if not partition.records(table, "base", None):
            raise DataError(f"{table.root} has no defect-free training images")
        if self.dfmgan is not None:
            shared_defects(self.dfmgan, table.category, request.chosen_defects)

    def steps(self, request: TrainingRequest) -> Sequence[Step]:
        """The image backbone (stage 1'), then the defect branch (stage 2')."""
        training_set = self._training_set(request)
        features: FrozenFeatures | None = None if self.features is None else Lite0Features(self.features)
        backbone_file = request.output / _BACKBONE_FOLDER / MODEL_FILE

        def backbone_stage() -> BackboneStage:
            return BackboneStage(training_set, features)

        def painter_stage() -> PainterStage:
            return PainterStage(training_set, _read_backbone(backbone_file), backbone_file, features)

        return (
            Step("backbone", _BACKBONE_FOLDER, backbone_stage, share=BACKBONE_SHARE, basis=True),
            Step("painter", PAINTER_FOLDER, painter_stage, share=1 - BACKBONE_SHARE),
        )

    def _training_set(self, request: TrainingRequest) -> PainterTrainingSet:
        table, partition, config = request.table, request.partition, self.config
        defects: dict[str, Sequence[DefectImage]] = {}
        for defect in request.chosen_defects:
            records = partition.records(table, "base", defect)
            defects[defect] = [DefectImage(*read_limited(record, config.longest_side)) for record in records]
        chosen = _spread(partition.records(table, "base", None), config.max_normals, config.seed)
        normals = [_normal_image(record, config.longest_side) for record in chosen]
        pairs = [(n.image, n.foreground) for n in normals]
        arrangement = (
            find_arrangement(pairs, config.pose) if self.symmetry is None else Arrangement(self.symmetry, None)
        )
        if self.dfmgan is not None:
            drawn = draw_triplets(self.dfmgan, defects, table.category, config.triplets, config.seed)
            defects = {name: [*items, *drawn.triplets.get(name, ())] for name, items in defects.items()}
            normals += drawn.normals
        log.info("%s", arrangement.describe())
        return PainterTrainingSet.of(table.category, normals, defects, arrangement, config)


def train_painter(
    table: Table,
    partition: Partition,
    config: PainterConfig,
    output: Path,
    *,
    defects: Sequence[str] | None = None,
    symmetry: Symmetry | None = None,
    features: Path | None = None,
    dfmgan: DefectSource | None = None,
    resume: bool = False,
    minutes: float | None = None,
    report: Report | None = None,
) -> dict[str, Ended]:
    """Train one painter for all defects of a category; how the stages `backbone` and `painter` ended.

    Only the base part of `partition` is read. The trained painter is `output/painter/model.safetensors`; `Painter.load`
    opens it, or `output`.

    Args:
        table: All images of the category.
        partition: Which of them may be learnt from.
        config: Settings of the networks and of both stages.
        output: Run folder.
        defects: Which defects; None: all.
        symmetry: How the product may be moved; None: as found in its normal images.
        features: EfficientNet-Lite0 weights for the discriminators; None: discriminators that need no weights.
        dfmgan: A trained DFMGAN of the category: `config.triplets` samples of each of its defects are learnt from, too.
        resume: Continue what is in `output`.
        minutes: Time budget for this call; it never lengthens the training, see `PainterConfig.for_minutes`.
        report: Called after every iteration.

    Raises:
        DataError: The images have errors that `defect-synth check` would name, or there is nothing to learn from.
        CheckpointError: `output` holds another run, or one and `resume` is false.
        UnknownDefectError: A defect that the category does not have.
        ConfigError: The DFMGAN is of another category or of other defects.
    """
    request = TrainingRequest(table, partition, output, defects, resume=resume, minutes=minutes, report=report)
    return train(PainterMethod(config, features, dfmgan, symmetry), request)


def _read_backbone(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        raise CheckpointError(f"{file.parent} has no finished backbone; continue it with --resume")
    return load_checkpoint(file, TrainingCard).tensors


def _spread(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """At most `count` records, drawn without regard to their order."""
    if len(records) <= count:
        return list(records)
    order = np.argsort(np.random.default_rng((seed, 0x60D)).random(len(records)), kind="stable")
    return [records[i] for i in sorted(order[:count])]


def _normal_image(record: Record, longest_side: int) -> NormalImage:
    image, _ = read_limited(record, longest_side)
    return NormalImage(image, find_foreground(image))
