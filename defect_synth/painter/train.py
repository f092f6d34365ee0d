"""From a category's images to a painter: what `defect-synth train --method painter` does."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defect_synth.data.check import check, require_trainable
from defect_synth.data.layouts import Table
from defect_synth.data.partitions import Partition
from defect_synth.data.records import Record
from defect_synth.data.square import read_limited
from defect_synth.engine.checkpoint import library_versions, load_checkpoint
from defect_synth.engine.loop import STATE, Ended, Report, run
from defect_synth.engine.run_folder import open_run_folder
from defect_synth.errors import CheckpointError, DataError, UnknownDefectError
from defect_synth.painter.checkpoint import PainterInfo, save_painter
from defect_synth.painter.config import PainterConfig
from defect_synth.painter.distill import lessons_of
from defect_synth.painter.donors import Exemplar
from defect_synth.painter.judges import FrozenFeatures, Lite0Features
from defect_synth.painter.network import PainterModel
from defect_synth.painter.product_assets import is_grey, pack
from defect_synth.painter.quality_check import statistics
from defect_synth.painter.stages import backbone_stage, painter_stage
from defect_synth.painter.surroundings import Weights, surroundings_of
from defect_synth.painter.training_data import (
    DefectImage,
    Movement,
    NormalImage,
    PainterData,
    exemplars_of,
    reference_side,
)
from defect_synth.product.foreground import foreground as foreground_of
from defect_synth.product.masks import MaskSource, Shape, Symmetry, find_symmetry
from defect_synth.samples import DefectSource, Pixels

log = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
BACKBONE_SHARE = 0.3  # of a time budget


@dataclass(frozen=True)
class PainterRun:
    """What `train_painter` did: the checkpoint and how each stage ended."""

    path: Path
    stages: dict[str, Ended]


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
) -> PainterRun:
    """Train one painter for all defects of a category.

    Reads the base part of `partition` only. Writes `output/painter/model.safetensors`, which `Painter.load` opens.

    Args:
        table: All images of the category.
        partition: Which of them may be learnt from.
        config: Everything else.
        output: Run folder.
        defects: Which defects; None: all.
        symmetry: How the product may be moved; None: as found in its normal images.
        features: EfficientNet-Lite0 weights for the judges; None: judges that need no weights.
        dfmgan: A trained one of the category: `config.triplets` of each of its defects are learnt from as well.
        resume: Continue what is there.
        minutes: Stop after so long, whatever is done; the length of training is `config`'s.
        report: Called after every iteration.

    Raises:
        DataError: The images have errors that `defect-synth check` would name, or there is nothing to learn from.
        CheckpointError: `output` holds another run, or one and `resume` is false.
        UnknownDefectError: A defect that the category does not have.
        ConfigError: The DFMGAN is of another category or other defects.
    """
    started = time.monotonic()
    chosen = tuple(sorted(partition.defects) if defects is None else sorted(set(defects)))
    for defect in chosen:
        if defect not in partition.defects:
            raise UnknownDefectError(defect, table.category, tuple(sorted(partition.defects)))
    if not chosen:
        raise DataError(f"{table.root} has no defect images to train on; expected test/<defect>/ with masks")
    require_trainable(check(table), chosen)
    partition.require_match(table)
    described = {
        "method": "painter", "category": table.category, "data": str(table.root), "partition": partition.name,
        "defects": list(chosen), "config": config.model_dump(mode="json"),
        "dfmgan": None if dfmgan is None else str(getattr(dfmgan, "digest", "given")),
    }  # fmt: skip
    same = ("method", "category", "partition", "defects", "dfmgan")
    open_run_folder(output, partition, described, same, resume=resume)
    base: dict[str, list[DefectImage]] = {}
    for defect in chosen:
        base[defect] = [_defect_image(r, config.longest_side) for r in partition.records(table, "base", defect)]
        if not base[defect]:
            raise DataError(f"{defect} has no base image in partition {partition.name}; give it one with a mask")
    records = partition.records(table, "base", None)
    if not records:
        raise DataError(f"{table.root} has no defect-free training images")
    normals = [
        _normal_image(record, config.longest_side) for record in _spread(records, config.max_normals, config.seed)
    ]
    symmetry = symmetry or find_symmetry([n.image for n in normals[:32]])
    if dfmgan is not None:
        lessons = lessons_of(dfmgan, base, table.category, config.triplets, config.seed)
        base = {name: [*items, *lessons.triplets.get(name, ())] for name, items in base.items()}
        normals += lessons.normals
    mirrored = "x" * symmetry.mirror_x + "y" * symmetry.mirror_y or "not"
    lie = "aligned" if symmetry.aligned else "not aligned"
    log.info("product: turns %s, mirrored %s, %s", symmetry.turns, mirrored, lie)
    product = Product.of(table.category, normals, base, symmetry, config)
    judges: FrozenFeatures | None = None if features is None else Lite0Features(features)

    def left() -> float | None:
        return None if minutes is None else max(0.0, minutes - (time.monotonic() - started) / 60)

    ended: dict[str, Ended] = {}
    folder = output / "painter"
    below = folder / "backbone"
    if (folder / STATE).exists() and (below / STATE).exists():
        log.info("the image backbone is kept as it is: the painter was trained on it already")
    else:
        stage = backbone_stage(config, product.data, table.category, product.digest, judges)
        budget = left()
        ended["backbone"] = run(
            stage, below, resume=resume, minutes=None if budget is None else budget * BACKBONE_SHARE, report=report
        )
        del stage
    if not (below / "model.safetensors").exists():
        raise CheckpointError(f"{below} has no finished backbone; continue it with --resume")
    backbone = load_checkpoint(below / "model.safetensors", "training").tensors

    def export(path: Path, network: PainterModel, kimg: float) -> None:
        product.save(path, network, kimg, config, "image backbone" if judges is None else judges.name)

    stage = painter_stage(config, product.data, table.category, product.digest, backbone, judges, export)
    ended["painter"] = run(stage, folder, resume=resume, minutes=left(), report=report)
    return PainterRun(folder / MODEL_FILE, ended)


@dataclass(frozen=True, eq=False)
class Product:
    """What a painter must know of a category besides its networks."""

    category: str
    data: PainterData
    normals: tuple[NormalImage, ...]
    masks: MaskSource
    shapes: Mapping[str, Sequence[Shape]]
    symmetry: Symmetry
    gate: Mapping[str, list[list[float]]]
    digest: str
    kept: int

    @classmethod
    def of(
        cls, category: str, normals: Sequence[NormalImage], base: Mapping[str, Sequence[DefectImage]],
        symmetry: Symmetry, config: PainterConfig,
    ) -> Product:  # fmt: skip
        """Of images in memory."""
        shapes = {
            name: [Shape.of(item.mask, foreground_of(item.image)) for item in items] for name, items in base.items()
        }
        masks = MaskSource(shapes, symmetry, category)
        real = [n for n in normals if not n.drawn]
        reference, side = reference_side([n.image for n in real]), config.model.side
        exemplars = {name: exemplars_of(items, side, reference) for name, items in base.items()}
        grey = all(map(is_grey, [*(n.image for n in real), *(i.image for items in base.values() for i in items)]))
        propose = _Propose(masks, exemplars, real, side, reference)
        data = PainterData(normals, base, config.model, movement_of(symmetry), propose, config.seed, grey=grey)
        gate = {
            name: [statistics(e.image, e.mask) for e in exemplars]
            for name, exemplars in zip(data.defects, data.exemplars, strict=True)
        }
        digest = hashlib.sha256()
        pictures = [n.image for n in normals]
        for name in sorted(base):
            pictures += [picture for item in base[name] for picture in (item.image, item.mask)]
        for picture in pictures:
            digest.update(repr(picture.shape).encode() + picture.tobytes())
        return cls(
            category, data, tuple(normals), masks, shapes, symmetry, gate, digest.hexdigest(), config.kept_normals
        )

    def save(self, path: Path, network: PainterModel, kimg: float, config: PainterConfig, judges: str,
             *, half: bool = False) -> None:  # fmt: skip
        """Write the painter that `Painter.load` opens.

        Raises:
            OutputError: The file cannot be written.
        """
        luggage: dict[str, Tensor] = {}
        for i, normal in enumerate([n for n in self.normals if not n.drawn][: self.kept]):
            luggage[f"normal.{i:03d}"] = torch.from_numpy(pack(normal.image))
            luggage[f"foreground.{i:03d}"] = torch.from_numpy(pack(normal.foreground.astype(np.uint8) * np.uint8(255)))
        scales: dict[str, list[float]] = {}
        places: dict[str, list[dict[str, Any]]] = {}
        for name, exemplars in zip(self.data.defects, self.data.exemplars, strict=True):
            scales[name] = [e.scale for e in exemplars]
            for k, exemplar in enumerate(exemplars):
                luggage[f"donor.{name}.{k:03d}"] = torch.from_numpy(pack(exemplar.image))
                luggage[f"donor_mask.{name}.{k:03d}"] = torch.from_numpy(pack(exemplar.mask * np.uint8(255)))
            places[name] = [
                {"offset": list(s.offset), "radius": s.radius, "inside": s.inside, "margin": s.margin}
                for s in self.shapes[name]
            ]
            for k, shape in enumerate(self.shapes[name]):
                luggage[f"shape.{name}.{k:03d}"] = torch.from_numpy(pack(shape.mask * np.uint8(255)))
        info = PainterInfo(
            model=config.model, category=self.category, defects=self.data.defects, reference=self.data.reference,
            product={
                "symmetry": self.symmetry.to_json(), "donor_scales": scales, "shapes": places,
                "statistics": {name: rows for name, rows in self.gate.items()},
            },
            trained_kimg=kimg, judges=judges, versions=library_versions(),
            training=config.model_dump(mode="json", exclude={"model"}) | {"data_digest": self.digest},
        )  # fmt: skip
        save_painter(path, info, network.state_dict(), luggage, half=half)


class _Propose:
    """New masks on normal images, where the painter will put them; what is known of an image is kept."""

    def __init__(
        self, masks: MaskSource, exemplars: Mapping[str, Sequence[Exemplar]], normals: Sequence[NormalImage],
        side: int, reference: int,
    ) -> None:  # fmt: skip
        self._masks = masks
        self._surroundings = surroundings_of(
            masks.symmetry, exemplars, [(n.image, n.foreground) for n in normals], side, reference
        )
        self._kept: dict[tuple[str, int], Weights | None] = {}

    def __call__(self, defect: str, normal: NormalImage, seed: int) -> Pixels:
        weights, places = None, self._surroundings
        if places is not None:
            key = defect, id(normal)  # the images outlive this
            if key not in self._kept:
                self._kept[key] = places.weights(defect, normal.image)
            weights = self._kept[key]
        return self._masks.propose(defect, normal.foreground, seed, weights)


def movement_of(symmetry: Symmetry) -> Movement:
    """The same, as views are moved."""
    turns = symmetry.turns
    return Movement(
        quarter=turns in ("any", "quarter"), any=turns == "any", half=turns != "none",
        mirror_x=symmetry.mirror_x, mirror_y=symmetry.mirror_y,
    )  # fmt: skip


def _spread(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """At most `count` records, drawn without regard to their order."""
    if len(records) <= count:
        return list(records)
    order = np.argsort(np.random.default_rng((seed, 0x60D)).random(len(records)), kind="stable")
    return [records[i] for i in sorted(order[:count])]


def _defect_image(record: Record, longest: int) -> DefectImage:
    return DefectImage(*read_limited(record, longest))


def _normal_image(record: Record, longest: int) -> NormalImage:
    image, _ = read_limited(record, longest)
    return NormalImage(image, foreground_of(image))
