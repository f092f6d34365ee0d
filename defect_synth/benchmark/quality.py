"""Table 1 of the paper: how close generated images are to real ones, how varied, and whether they are copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.context import PartitionContext
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.benchmark.results import DefectFigures, QualityCell
from defect_synth.data.store import ImageArrays, load
from defect_synth.errors import ConfigError
from defect_synth.metrics.clustered_lpips import Embedding
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import FeatureExtractor, RandomFeatures
from defect_synth.metrics.figures import DefectQuality, Figure
from defect_synth.metrics.inception import InceptionFeatures
from defect_synth.metrics.lpips import LPIPS
from defect_synth.metrics.quality import RealDefects, assess
from defect_synth.samples import FiniteSource

Tick = Callable[[float, float], None]


class QualityConfig(BaseModel):
    """How generated images are judged by themselves; the same for every system."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(default=1000, ge=2, description="Images of each defect; the paper's KID has 5,000.")
    lpips_count: int = Field(default=1000, ge=2, description="Of which this many enter clusters; 1,000 in the paper.")
    inception: Path | None = Field(default=None, description="Inception's weights of 2015: makes the figure KID.")
    features: Path | None = Field(
        default=None, description="EfficientNet-Lite0's weights, the stand-in; None: random convolutions."
    )
    lpips_alexnet: Path | None = Field(default=None, description="AlexNet's weights, for LPIPS.")
    lpips_linear: Path | None = Field(default=None, description="LPIPS's linear weights, v0.1.")


class Judges(NamedTuple):
    """Networks that look at images.

    Attributes:
        extractor: For distances and nearest neighbours.
        embedding: For clusters; None: the extractor stands in.
        digest: Names both.
    """

    extractor: FeatureExtractor
    embedding: Embedding | None
    digest: str


def load_judges(config: QualityConfig, device: str) -> Judges:
    """Read the networks.

    Raises:
        ConfigError: One of the two files of LPIPS is missing.
        DataError: A file is none of theirs.
    """
    extractor: FeatureExtractor
    if config.inception is not None:
        extractor = InceptionFeatures(config.inception).to(device)
    elif config.features is not None:
        extractor = EfficientNetLite0(config.features).to(device)
    else:
        extractor = RandomFeatures()
    alexnet, linear = config.lpips_alexnet, config.lpips_linear
    if (alexnet is None) != (linear is None):
        raise ConfigError("LPIPS needs both files, lpips_alexnet and lpips_linear; give the other one or neither")
    embedding = None if alexnet is None or linear is None else LPIPS.load(alexnet, linear).to(device)
    digest = extractor.digest + ("" if embedding is None else f" {embedding.digest}")
    return Judges(extractor, embedding, digest)


def quality_cell(
    arm: Arm,
    context: PartitionContext,
    test: LabelledArrays,
    config: QualityConfig,
    judges: Judges,
    cache: Path,
    device: str,
    tick: Tick,
) -> QualityCell:
    """Measure the images of one system, each defect by itself.

    The real images that a system may have learnt from are training images, the test images held out. Whole images are
    measured, since some systems have no masks to cut defects out by.

    Args:
        arm: Of the system.
        context: What may be learnt from.
        test: Real test images.
        config: How many images.
        judges: The networks.
        cache: Folder for what was computed, so that an interrupted cell goes on.
        device: Of the networks.
        tick: Called with (done, total).

    Raises:
        ArmNotPossible: The system cannot be had here.
    """
    started = time.perf_counter()
    source = arm.source(context)
    assert source is not None
    real = {defect: _real(context, test, defect) for defect in context.defects}
    places = {defect: place for place, defect in enumerate(real)}

    def report(text: str, done: int, total: int) -> None:
        tick(places[text.split(":")[0]] + done / max(1, total), len(places))

    found = assess(
        source, real, [judges.extractor], embedding=judges.embedding, count=config.count,
        lpips_count=config.lpips_count, cache=cache, name=arm.name, device=device, progress=report,
    )  # fmt: skip
    skipped = [f"{quality.defect}: {reason}" for quality in found.defects for reason in quality.skipped]
    first = found.defects[0].figures
    return QualityCell(
        category=context.category, partition=context.partition, arm=arm.name,
        source=f"{type(source).__name__} {found.digest}".rstrip(),
        distance=_named(_find(first, _DISTANCES)) or "-", spread=_named(_find(first, _SPREADS)) or "-",
        defects=tuple(
            _figures(quality, len(source.seeds(quality.defect)) if isinstance(source, FiniteSource) else None)
            for quality in found.defects
        ),
        # Figures of crops and masks are not of this table.
        skipped=tuple(reason for reason in skipped if "crop" not in reason and "mask" not in reason),
        seconds=time.perf_counter() - started,
    )  # fmt: skip


_DISTANCES = ("KID x1000", "MMD x1000")
_SPREADS = ("clustered LPIPS, corrected", "clustered distance, corrected")
_OFFICIAL = ("clustered LPIPS, official",)


def _real(context: PartitionContext, test: LabelledArrays, defect: str) -> RealDefects:
    """Validation images count as training: snapshots may have been chosen by them."""
    seen = [r for part in ("base", "validation") for r in context.split.records(context.table, part, defect)]
    return RealDefects(load(seen, context.resolution, context.how), _held_out(test, defect))


def _held_out(test: LabelledArrays, defect: str) -> ImageArrays:
    chosen = np.flatnonzero(test.labels == test.classes.index(defect))
    assert test.masks is not None
    names = tuple(test.names[i] for i in chosen)
    return ImageArrays(test.images[chosen], test.masks[chosen], names)


def _find(figures: Sequence[Figure], metrics: Sequence[str], against: str = "training defects") -> Figure | None:
    for figure in figures:
        if figure.metric in metrics and figure.view == "image" and figure.against == against:
            return figure
    return None


def _named(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.metric.removesuffix(', corrected')} ({figure.network})"


def _figures(quality: DefectQuality, available: int | None) -> DefectFigures:
    distance, spread = _find(quality.figures, _DISTANCES), _find(quality.figures, _SPREADS)
    official = _find(quality.figures, _OFFICIAL)
    nearest = _find(quality.figures, ("nearest-neighbour ratio",))
    closer = _find(quality.figures, ("closer than any held-out image",))
    return DefectFigures(
        defect=quality.defect, generated=quality.generated, available=available,
        distance=None if distance is None else distance.value,
        distance_low=None if distance is None else distance.low,
        distance_high=None if distance is None else distance.high,
        spread=None if spread is None else spread.value,
        spread_official=None if official is None else official.value,
        nearest=None if nearest is None else nearest.value,
        nearest_low=None if nearest is None else nearest.low,
        nearest_high=None if nearest is None else nearest.high,
        closer=None if closer is None else closer.value,
    )  # fmt: skip
