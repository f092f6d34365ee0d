"""The task `quality`: how close generated images are to real ones, how varied, and whether they are copies.

These are the figures of Table 1 (Duan et al. 2023) and of a table of copies beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.progress import StepCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.quality_networks import QualityConfig, QualityNetworks, load_quality_networks
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tables.paper_tables import paper_tables
from defect_synth.benchmark.tables.report_table import ReportTable
from defect_synth.benchmark.task_results import DefectFigures, QualityResult, TaskResult
from defect_synth.benchmark.tasks.task import ArmData, Trial
from defect_synth.data.store import ImageArrays, load
from defect_synth.metrics.quality import RealDefects, measure_quality
from defect_synth.metrics.quality_report import DefectQuality, Figure
from defect_synth.samples import FiniteSource

_DISTANCES = ("KID x1000", "MMD x1000")
_SPREADS = ("clustered LPIPS, corrected", "clustered distance, corrected")
_SPREAD_OFFICIAL = ("clustered LPIPS, official",)


class QualityTask:
    """Measure the images of one system, each defect by itself.

    Training images are those that the system may have learnt from; the test images are held out. Whole images are
    measured, since some systems have no masks to crop defects by.
    """

    name: ClassVar[str] = "quality"
    length: ClassVar[float] = 0.6
    record: ClassVar[type[TaskResult]] = QualityResult
    compared_figure: ClassVar[str] = ""

    def __init__(self, config: QualityConfig, device: str, output: Path) -> None:
        self._config, self._device, self._cache = config, device, output / "quality"
        self._loaded_networks: QualityNetworks | None = None

    @classmethod
    def from_protocol(cls, protocol: BenchmarkProtocol, device: str, output: Path) -> Self | None:
        """None without a section `[quality]`."""
        return None if protocol.quality is None else cls(protocol.quality, device, output)

    @property
    def settings(self) -> Any:
        """The numbers of images and the networks."""
        return ["quality", self._config.count, self._config.lpips_count, self._networks.digest]

    def exclusion(self, arm: Arm) -> str:
        """Empty: only the systems of the paper's tables are measured, and the others are not missed there."""
        return ""

    def obstacle(self, data: PartitionData) -> str:
        """Every partition will do."""
        return ""

    def trials(self, arm: Arm) -> list[Trial]:
        """One for each system of the paper's tables."""
        return [Trial(1.0)] if arm.system else []

    def measure(self, arm_data: ArmData, trial: Trial, progress: StepCallback) -> QualityResult:
        """Draw images of one system and measure them."""
        started = time.perf_counter()
        data, arm = arm_data.data, arm_data.arm
        source = arm.source(data.context)
        assert source is not None
        real = {defect: _real_images(data, defect) for defect in data.context.defects}
        number = {defect: i for i, defect in enumerate(real)}

        def report(text: str, done: int, total: int) -> None:
            progress(number[text.split(":")[0]] + done / max(1, total), len(number))

        found = measure_quality(
            source, real, [self._networks.extractor], embedding=self._networks.embedding, count=self._config.count,
            lpips_count=self._config.lpips_count, cache=self._cache.joinpath(*data.folders), name=arm.name,
            device=self._device, progress=report,
        )  # fmt: skip
        first = found.defects[0].figures
        skipped = [f"{quality.defect}: {reason}" for quality in found.defects for reason in quality.skipped]
        return QualityResult(
            category=data.context.category, partition=data.context.partition, arm=arm.name,
            source=f"{type(source).__name__} {source.digest}",
            distance=_name_of(_find(first, _DISTANCES)) or "-", spread=_name_of(_find(first, _SPREADS)) or "-",
            defects=tuple(
                _defect_figures(q, len(source.seeds(q.defect)) if isinstance(source, FiniteSource) else None)
                for q in found.defects
            ),
            # Figures of crops and masks have no place in this table.
            skipped=tuple(reason for reason in skipped if "crop" not in reason and "mask" not in reason),
            seconds=time.perf_counter() - started,
        )  # fmt: skip

    @property
    def _networks(self) -> QualityNetworks:
        if self._loaded_networks is None:
            self._loaded_networks = load_quality_networks(self._config, self._device)
        return self._loaded_networks

    @classmethod
    def tables(cls, results: BenchmarkResults, category: str) -> list[ReportTable]:
        """Tables 1 and 2 of the paper, and a table of copies, variety and cost."""
        return paper_tables(results, category)


def _real_images(data: PartitionData, defect: str) -> RealDefects:
    """Validation images count as training images: snapshots may have been chosen by them."""
    context, test = data.context, data.test
    seen = [r for part in ("base", "validation") for r in context.split.records(context.table, part, defect)]
    held_out = test.select(np.flatnonzero(test.labels == test.classes.index(defect)))
    assert held_out.masks is not None
    return RealDefects(
        load(seen, context.resolution, context.how), ImageArrays(held_out.images, held_out.masks, held_out.names)
    )


def _find(figures: Sequence[Figure], metrics: Sequence[str]) -> Figure | None:
    """The figure of whole images, measured against the training images, that has one of these names."""
    for figure in figures:
        if figure.metric in metrics and figure.view == "image" and figure.against == "training defects":
            return figure
    return None


def _name_of(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.metric.removesuffix(', corrected')} ({figure.network})"


def _defect_figures(quality: DefectQuality, available: int | None) -> DefectFigures:
    distance, spread = _find(quality.figures, _DISTANCES), _find(quality.figures, _SPREADS)
    official = _find(quality.figures, _SPREAD_OFFICIAL)
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
