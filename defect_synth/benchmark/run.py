"""The whole benchmark: data, partitions, arms, cells, statistics, report; stopped at any moment and continued."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from defect_synth.benchmark.arms import Arm, choose_arms
from defect_synth.benchmark.comparisons import compare_arms
from defect_synth.benchmark.context import ArmNotPossible, PartitionContext
from defect_synth.benchmark.environment import describe_environment
from defect_synth.benchmark.generators import GENERATORS, OUT_OF_TIME, Generators, refuse_leak
from defect_synth.benchmark.labelled import LabelledArrays, class_less, load_partition, refuse_copies
from defect_synth.benchmark.measure import (
    Pool,
    Probed,
    Task,
    classify_cell,
    draw_pool,
    probe_cell,
    segment_cell,
    threshold_cell,
)
from defect_synth.benchmark.meter import Meter, Report
from defect_synth.benchmark.partitioning import learnable, make_partition
from defect_synth.benchmark.product import embedded_product, shipped_dfmgan, shipped_painter
from defect_synth.benchmark.protocol import Protocol
from defect_synth.benchmark.quality import Judges, load_judges, quality_cell
from defect_synth.benchmark.report.gallery import write_gallery
from defect_synth.benchmark.report.report import write_report
from defect_synth.benchmark.result_store import Cells, fingerprint_of, slug
from defect_synth.benchmark.results import (
    ArmRecord,
    BenchmarkResults,
    ClassificationCell,
    GalleryRecord,
    GeneratorRecord,
    ProbeCell,
    ProductRecord,
    QualityCell,
    SegmentationCell,
    ThresholdCell,
)
from defect_synth.benchmark.tasks.probe import load_probe_network
from defect_synth.data.layouts import Table, index
from defect_synth.data.partitions import Partition
from defect_synth.data.store import ImageArrays, load
from defect_synth.dfmgan.config import TrainConfig
from defect_synth.errors import ConfigError, OutputError
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.nn.device import choose_device
from defect_synth.nn.memory import keep_memory

_LENGTHS = {
    "product": 0.5,
    "generator": 5.0,
    "source": 0.3,
    "classification": 1.0,
    "probe": 0.3,
    "segmentation": 0.6,
    "threshold": 0.3,
    "quality": 0.6,
}
"""Guesses for the progress bar, in cells."""

_Cell = TypeVar("_Cell", ClassificationCell, SegmentationCell)


class BenchmarkRequest(BaseModel):
    """What a user asks for besides the protocol.

    Attributes:
        categories: Object categories.
        data: Their images; None: the embedded product.
        run: A run folder trained with the partition, `{category}` and `{partition}` in it standing for names; None:
            generators are trained inside each partition.
        output: Where everything goes.
        train: Train generators even where the package ships one.
        resume: Continue what is in `output`.
        device: Where.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...]
    data: Path | None = None
    run: Path | None = None
    output: Path = Path("runs/benchmark")
    train: bool = False
    resume: bool = False
    device: str = "auto"


def run_benchmark(request: BenchmarkRequest, protocol: Protocol, report: Report | None = None) -> BenchmarkResults:
    """Measure every arm on every partition; write `results.json`, `report.md` and `report.html` into the output.

    Args:
        request: What to measure.
        protocol: How.
        report: Called with (text, done, total).

    Raises:
        DataError: Unusable images, or a run that has learnt from test images.
        ConfigError: Something unknown or contradictory in the request or the protocol.
        OutputError: The output holds another benchmark, or cannot be written.
    """
    return _Benchmark(request, protocol, report).run()


class _Benchmark:
    def __init__(self, request: BenchmarkRequest, protocol: Protocol, report: Report | None) -> None:
        self.request, self.protocol = request, protocol
        self.arms = choose_arms(protocol.arms)
        self.config: TrainConfig = protocol.train_config(request.device)
        self.device = str(choose_device(request.device))
        self.cells = Cells(request.output / "cells")
        ours = request.data is None and request.run is None and not request.train
        self.shipped = shipped_dfmgan(self.config.model.backbone.resolution) if ours else None
        self.shipped_painter = shipped_painter() if ours else None
        self.judges: Judges | None = None
        self.probe_network: FeatureExtractor | None = None
        self.probed: tuple[PartitionContext, Probed] | None = None
        runs = len(request.categories) * len(protocol.partitions)
        tabled = sum(bool(arm.system) for arm in self.arms)
        per_arm = _LENGTHS["source"] + protocol.seeds * (
            len(protocol.ratios) * _LENGTHS["classification"]
            + (_LENGTHS["segmentation"] if protocol.segmentation else 0)
        )
        per_arm += _LENGTHS["probe"] if protocol.probe else 0
        per_system = _LENGTHS["generator"] + (_LENGTHS["quality"] if protocol.quality else 0)
        total = runs * (_LENGTHS["generator"] + tabled * per_system + len(self.arms) * per_arm)
        self.meter = Meter(report, _LENGTHS["product"] + total)
        self.started = time.perf_counter()
        self.earlier = 0.0  # seconds of cells that an earlier call measured
        self.weights = _digest(protocol.classifier.weights)
        self.products: list[ProductRecord] = []
        self.generators: list[GeneratorRecord] = []
        self.classification: list[ClassificationCell] = []
        self.segmentation: list[SegmentationCell] = []
        self.thresholds: list[ThresholdCell] = []
        self.quality: list[QualityCell] = []
        self.probes: list[ProbeCell] = []
        self.gallery: list[GalleryRecord] = []
        self.missing: dict[str, dict[str, str]] = {arm.name: {} for arm in self.arms}
        self.notes: dict[str, None] = {}

    def run(self) -> BenchmarkResults:
        keep_memory()
        output = self.request.output
        if (output / "cells").is_dir() and not self.request.resume:
            raise OutputError(
                f"{output} holds a benchmark already; continue it with --resume or choose another --output"
            )
        results: BenchmarkResults | None = None
        for category in self.request.categories:
            table = self._table(category)
            for name in self.protocol.partitions:
                self._partition(table, name)
                results = self._results()
                write_report(results, output)
        assert results is not None
        self.meter.end("benchmark finished")
        return results

    def _table(self, category: str) -> Table:
        side = self.config.model.backbone.resolution
        if self.request.data is not None:
            table = index(self.request.data, category)
        else:
            table = embedded_product(
                category, self.request.output, side, self.protocol.product,
                lambda done, total: self.meter.within("draw the embedded product", _LENGTHS["product"], done, total),
            )  # fmt: skip
        self.meter.finish(_LENGTHS["product"] / len(self.request.categories))
        self.products.append(
            ProductRecord(
                category=table.category, procedural=self.request.data is None,
                about="the embedded procedural product of this package, NOT MVTec AD" if self.request.data is None
                else f"images of {table.root.name}, layout {table.layout}",
                resolution=side, good=len(table.good), defects={d: len(table.of(d)) for d in table.defects},
            )
        )  # fmt: skip
        return table

    def _partition(self, whole: Table, name: str) -> None:
        protocol, config = self.protocol, self.config
        table, partition = make_partition(whole, name, protocol.validation_fraction, protocol.shots)
        run = None
        if self.request.run is not None:
            text = str(self.request.run).replace("{category}", partition.category).replace("{partition}", name)
            run = Path(text)
            refuse_leak(run, partition)
        side = config.model.backbone.resolution
        arrays = load_partition(table, partition, side, config.resize, with_good=protocol.with_good)
        records = partition.records(table, "test", None)
        test_good = load(records, side, config.resize) if records else None
        place = (partition.category, name if protocol.shots == "all" else f"{name}-{protocol.shots}-shot")
        generators = Generators(
            config, protocol.minutes, run, self.shipped, self.shipped_painter, protocol.painter_config(),
            protocol.systems, self.request.device,
            lambda text, done, total: self.meter.within(f"{name}: {text}", _LENGTHS["generator"], done, total),
            self.cells, self._settings(partition, "generator"), self.generators,
        )  # fmt: skip
        learnt_table, learnt_split = learnable(table, partition)
        context = PartitionContext(
            category=partition.category, partition=name, table=learnt_table, split=learnt_split,
            base=arrays.base, validation=arrays.validation, resolution=side, how=config.resize,
            procedural=self.request.data is None,
            folder=self.request.output.joinpath("generators", *(slug(part) for part in place)),
            make_dfmgan=generators.dfmgan, make_painter=generators.painter, make_system=generators.system,
            textures=protocol.textures,
        )  # fmt: skip
        before = len(self.generators)
        self._arms(context, partition, arrays.test, test_good, place)
        counted = len(self.generators) - before
        generators.require_recorded(context)
        self.meter.finish(_LENGTHS["generator"] * (1 + sum(bool(arm.system) for arm in self.arms) - counted))

    def _arms(
        self,
        context: PartitionContext,
        partition: Partition,
        test: LabelledArrays,
        test_good: ImageArrays | None,
        place: tuple[str, ...],
    ) -> None:
        """Arm after arm, so that only one arm's images are in memory, and those of the thresholds."""
        protocol = self.protocol
        drawn: tuple[Any, Pool] | None = None
        kept: dict[str, LabelledArrays] = {}
        wanted = [] if protocol.threshold is None else [a for a in self.arms if a.name in protocol.threshold.arms]
        per_defect = protocol.threshold.per_defect if protocol.threshold else 0
        settings = self._settings(partition, ["threshold", per_defect, [a.name for a in wanted]], *wanted)
        threshold = self.cells.read((*place, "threshold"), settings, ThresholdCell) if protocol.threshold else None
        for arm in self.arms:
            pool: Pool | None = None
            made = len(self.generators)

            def get_pool(arm: Arm = arm) -> Pool:
                nonlocal pool, drawn
                if pool is None and drawn is not None and drawn[0] is arm.source:
                    pool = Pool(drawn[1].arrays, drawn[1].source)  # the seconds were counted for the other arm
                if pool is None:
                    text = f"{context.partition}: draw images for {arm.name}"
                    tick = lambda done, total: self.meter.within(text, _LENGTHS["source"], done, total)  # noqa: E731
                    pool = draw_pool(arm, context, protocol.per_defect, tick)
                    if pool.arrays is not None:
                        refuse_copies(context.partition, pool.arrays, test)
                    self.meter.finish(_LENGTHS["source"])
                drawn = (arm.source, pool)
                return pool

            try:
                self._measure(arm, context, partition, test, test_good, place, get_pool)
                if arm in wanted and threshold is None:
                    pooled = get_pool().arrays
                    if pooled is not None:
                        count = per_defect if arm.labelled else per_defect * len(context.defects)
                        kept[arm.name] = _first_of_each(pooled, count)
            except ArmNotPossible as reason:
                self.missing[arm.name][f"{context.category} {context.partition}"] = str(reason)
            self.meter.finish(_LENGTHS["generator"] * (len(self.generators) - made))
        if protocol.threshold is None:
            return
        if test_good is None or context.good_validation is None:
            self.notes["Anomaly thresholds: skipped, they need good images for validation and test."] = None
            return
        if threshold is None:
            threshold = threshold_cell(context, test, test_good, kept)
            self.cells.write((*place, "threshold"), settings, threshold)
        self.thresholds.append(threshold)

    def _measure(
        self,
        arm: Arm,
        context: PartitionContext,
        partition: Partition,
        test: LabelledArrays,
        test_good: ImageArrays | None,
        place: tuple[str, ...],
        get_pool: Any,
    ) -> None:
        protocol = self.protocol

        def cell(kind: type[_Cell], task: str, ratio: float, seed: int, config: Any, run: Any) -> _Cell:
            key = (*place, task, arm.name, f"ratio-{ratio:g}-seed-{seed}")
            settings = self._settings(partition, config, arm)
            record = self.cells.read(key, settings, kind)
            if record is None:
                text = f"{context.partition}: {task}, {arm.name}, seed {seed}"
                made = Task(context, test, test_good, arm, get_pool(), ratio, self.device)
                tick = lambda done, total: self.meter.within(text, _LENGTHS[task], done, total)  # noqa: E731
                record = run(made, config, seed, tick)
                self.cells.write(key, settings, record)
            else:
                first = task == "classification" and seed == 0 and ratio == protocol.ratios[0]
                self.earlier += record.seconds + first * record.seconds_of_source
            self.meter.finish(_LENGTHS[task])
            return record

        for ratio in protocol.ratios if arm.mixes else protocol.ratios[:1]:
            for seed in range(protocol.seeds if "classification" not in arm.absent else 0):
                self.classification.append(
                    cell(ClassificationCell, "classification", ratio, seed, protocol.classifier, classify_cell)
                )
        if protocol.probe is not None and "classification" not in arm.absent:
            for ratio in protocol.ratios if arm.mixes else protocol.ratios[:1]:
                self.probes.append(self._probe(arm, context, partition, test, ratio, place, get_pool))
        segmented = protocol.segmentation is not None and arm.name in protocol.segmentation.arms
        if segmented and "segmentation" not in arm.absent:
            for seed in range(protocol.seeds):
                self.segmentation.append(
                    cell(
                        SegmentationCell, "segmentation", protocol.ratios[0], seed, protocol.segmentation, segment_cell
                    )
                )
        if protocol.quality is not None and arm.system:
            self.quality.append(self._quality(arm, context, partition, test, place))
        self._show(arm, context, partition, place, get_pool)

    def _probe(
        self,
        arm: Arm,
        context: PartitionContext,
        partition: Partition,
        test: LabelledArrays,
        ratio: float,
        place: tuple[str, ...],
        get_pool: Any,
    ) -> ProbeCell:
        config, like = self.protocol.probe, self.protocol.classifier
        assert config is not None
        if self.probe_network is None:
            self.probe_network = load_probe_network(config, self.device)
        key = (*place, "probe", arm.name, f"ratio-{ratio:g}")
        described = ["probe", self.probe_network.digest, config.weight_decay, like.flip, like.rotate90]
        settings = self._settings(partition, described, arm)
        record = self.cells.read(key, settings, ProbeCell)
        if record is None:
            if self.probed is None or self.probed[0] is not context:
                self.probed = context, Probed.of(context, test, self.probe_network, like)
            text = f"{context.partition}: probe, {arm.name}"
            made = Task(context, test, None, arm, get_pool(), ratio, self.device)
            tick = lambda done, total: self.meter.within(text, _LENGTHS["probe"], done, total)  # noqa: E731
            record = probe_cell(made, config, self.probed[1], tick)
            self.cells.write(key, settings, record)
        else:
            self.earlier += record.seconds
        self.meter.finish(_LENGTHS["probe"])
        return record

    def _quality(
        self, arm: Arm, context: PartitionContext, partition: Partition, test: LabelledArrays, place: tuple[str, ...]
    ) -> QualityCell:
        config = self.protocol.quality
        assert config is not None
        if self.judges is None:
            self.judges = load_judges(config, self.device)
        key = (*place, "quality", arm.name)
        settings = self._settings(partition, ["quality", config.count, config.lpips_count, self.judges.digest], arm)
        record = self.cells.read(key, settings, QualityCell)
        if record is None:
            text = f"{context.partition}: look at the images of {arm.name}"
            cache = self.request.output.joinpath("quality", *(slug(part) for part in place))
            tick = lambda done, total: self.meter.within(text, _LENGTHS["quality"], done, total)  # noqa: E731
            record = quality_cell(arm, context, test, config, self.judges, cache, self.device, tick)
            self.cells.write(key, settings, record)
        else:
            self.earlier += record.seconds
        self.meter.finish(_LENGTHS["quality"])
        return record

    def _show(
        self, arm: Arm, context: PartitionContext, partition: Partition, place: tuple[str, ...], get_pool: Any
    ) -> None:
        if arm.share == 0:
            return
        key, settings = (*place, "gallery", arm.name), self._settings(partition, "gallery", arm)
        relative = "/".join(("gallery", *(slug(part) for part in place), f"{slug(arm.name)}.png"))
        record = self.cells.read(key, settings, GalleryRecord)
        if record is None or not (self.request.output / relative).is_file():
            arrays = get_pool().arrays
            assert arrays is not None
            real = context.base if arm.labelled else class_less(context.base)
            shown = write_gallery(arrays, real, self.request.output / relative)
            record = GalleryRecord(
                category=context.category, partition=context.partition, arm=arm.name, file=relative, **shown._asdict()
            )
            self.cells.write(key, settings, record)
        self.gallery.append(record)

    def _settings(self, partition: Partition, task: Any, *arms: Arm) -> str:
        """Everything that decides a cell's result besides its key; more arms, partitions or seeds do not."""
        left_out = {"name", "about", "published", "arms", "partitions", "seeds", "ratios",
                    "classifier", "probe", "segmentation", "threshold", "quality"}  # fmt: skip
        # Fields that came later count where they are used, so that older cells stay valid.
        left_out |= {name for name in ("systems", "textures") if not getattr(self.protocol, name)}
        protocol = self.protocol.model_dump(mode="json", exclude=left_out)
        # A table's list of arms decides which cells there are, not what is in them.
        described = task.model_dump(mode="json", exclude={"arms"}) if isinstance(task, BaseModel) else task
        run = None if self.request.run is None else str(self.request.run)
        shipped = [self.shipped is not None, self.shipped_painter is not None]
        values = [protocol, described, self.weights, partition.model_dump(mode="json"), run, shipped, self.device]
        return fingerprint_of(values + [arm.way for arm in arms if arm.way])

    def _results(self) -> BenchmarkResults:
        weights = self.protocol.classifier.weights
        described = self.protocol.model_dump(mode="json")
        described["classifier"]["weights"] = None if weights is None else weights.name  # no folder of this machine
        if self.protocol.quality is not None:
            paths = {k: v for k, v in self.protocol.quality if isinstance(v, Path)}
            described["quality"] |= {field: path.name for field, path in paths.items()}
        if self.protocol.probe is not None and self.protocol.probe.features is not None:
            described["probe"]["features"] = self.protocol.probe.features.name
        if self.protocol.textures is not None:
            described["textures"] = self.protocol.textures.name
        generators = sorted(self.generators, key=self._place)
        for record in generators:
            if OUT_OF_TIME in record.about:
                whose = f"{record.generator} of {record.category} {record.partition}"
                note = f"{whose} ran out of training time: its arms say little about the method; see --minutes."
                self.notes[note] = None
        comparisons = [
            *compare_arms(self.classification, "classification"), *compare_arms(self.probes, "probe"),
            *compare_arms(self.segmentation, "segmentation"),
        ]  # fmt: skip
        return BenchmarkResults(
            protocol=described, weights=self.weights, environment=describe_environment(self.device),
            products=tuple(self.products), generators=tuple(generators),
            arms=tuple(
                ArmRecord(name=a.name, about=a.about, missing=self.missing[a.name], absent=a.absent, masks=a.masks,
                          system=a.system)
                for a in self.arms
            ),
            classification=tuple(self.classification), segmentation=tuple(self.segmentation),
            thresholds=tuple(self.thresholds), comparisons=tuple(comparisons), gallery=tuple(self.gallery),
            notes=tuple(self.notes), seconds=self.earlier + time.perf_counter() - self.started,
            quality=tuple(self.quality), probe=tuple(self.probes),
        )  # fmt: skip

    def _place(self, record: GeneratorRecord) -> tuple[int, int, int]:
        """The same order whether this call trained a generator or found it."""
        categories = [product.category for product in self.products]
        partition = self.protocol.partitions.index(record.partition)
        return categories.index(record.category), partition, GENERATORS.index(record.generator)


def _first_of_each(arrays: LabelledArrays, count: int) -> LabelledArrays:
    chosen = [i for label in range(len(arrays.classes)) for i in (arrays.labels == label).nonzero()[0][:count]]
    masks = None if arrays.masks is None else arrays.masks[chosen]
    names = tuple(arrays.names[i] for i in chosen)
    return LabelledArrays(arrays.images[chosen], arrays.labels[chosen], arrays.classes, names, masks)


def _digest(weights: Path | None) -> str:
    if weights is None:
        return ""
    if not weights.is_file():
        raise ConfigError(f"no weights file {weights}; expected .safetensors or .pth of timm")
    with weights.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
