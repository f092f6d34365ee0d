"""The generators of one partition: given, shipped, or trained on its base set; never on a test image.

Three rules keep test images away. A generator that is trained here gets a table without them
(`partitioning.learnable`). One that is given must include the partition that it was trained on, whose base and
validation images are compared with the test images by name. The shipped ones were trained on procedural images of
other seeds than the embedded product's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defect_synth.baselines.train import open_system, settings_of, train_system
from defect_synth.benchmark.arms import SYSTEMS
from defect_synth.benchmark.context import ArmNotPossible, PartitionContext
from defect_synth.benchmark.product import ShippedModels
from defect_synth.benchmark.progress import ProgressCallback
from defect_synth.benchmark.result_store import ResultStore
from defect_synth.benchmark.results import GeneratorRecord
from defect_synth.benchmark.sources import ResizedSource
from defect_synth.data.partitions import Partition
from defect_synth.dfmgan.config import PAPER_256, TrainConfig
from defect_synth.dfmgan.pretrain import BACKBONE
from defect_synth.dfmgan.synthesizer import DefectSynthesizer
from defect_synth.dfmgan.train import train_dfmgan
from defect_synth.engine.loop import Ended
from defect_synth.engine.run_folder import PARTITION_FILE, RUN_FILE
from defect_synth.engine.snapshot import STATE, iterations_done
from defect_synth.errors import DataError
from defect_synth.nn.device import choose_device
from defect_synth.painter.config import PainterConfig
from defect_synth.samples import DefectSource

_SHIPPED = (
    "shipped with the package: trained on procedural images that are in no part of this partition, so it has seen "
    "more real images than the arm 'real'"
)
GENERATORS = ("DFMGAN", "painter", *SYSTEMS)
"""Their names in records and in the paper's tables."""
OUT_OF_TIME = "out of time"


@dataclass
class Generators:
    """Trains or opens the generators of one partition, and records where they came from.

    Attributes:
        config: Settings of DFMGAN's training.
        minutes: Limit on each training; None: as long as `config` says.
        run: A run folder to use instead of training.
        shipped: Models of the package to use instead, for the embedded product.
        painter_config: Settings of the painter's training.
        systems: Settings of the other systems: method -> dotted name -> value.
        device: Where networks are trained and run.
        report: Called with (what is being done, amount done, total amount).
        store: Where records are kept for a later call.
        settings: Digest of everything that decides what is trained.
        records: The list of the benchmark that records are added to.
    """

    config: TrainConfig
    minutes: float | None
    run: Path | None
    shipped: ShippedModels
    painter_config: PainterConfig
    systems: Mapping[str, Mapping[str, Any]]
    device: str
    report: ProgressCallback
    store: ResultStore
    settings: str
    records: list[GeneratorRecord]

    def dfmgan(self, context: PartitionContext) -> DefectSource:
        """Train DFMGAN, continue its training, or open a trained one."""
        if self.run is not None:
            if not (any(self.run.glob("defects/*/model.safetensors")) or (self.run / "model.safetensors").is_file()):
                raise ArmNotPossible(f"the run {self.run.name} has no DFMGAN")
            source = DefectSynthesizer.load(self.run, device=self.device)
            self._record(context, "DFMGAN", "given", source.digest, f"the run {self.run.name}", 0)
            return source
        if self.shipped.dfmgan is not None:
            source = DefectSynthesizer.load(self.shipped.dfmgan, device=self.device)
            self._record(context, "DFMGAN", "shipped", source.digest, _SHIPPED, 0)
            return source
        folder = context.folder / "dfmgan"
        if self._read(context, "DFMGAN") is not None and (folder / RUN_FILE).exists():
            return DefectSynthesizer.load(folder, device=self.device)  # a time limit must not start anew
        ended = train_dfmgan(
            context.table, context.split, self.config, folder,
            resume=(folder / RUN_FILE).exists(), minutes=self.minutes, device=choose_device(self.device),
            report=lambda p: self.report(f"train DFMGAN, {p.stage}, {p.text}", p.done_kimg, p.total_kimg),
        )  # fmt: skip
        source = DefectSynthesizer.load(folder, device=self.device)
        seconds = sum(step.seconds for step in ended.values())
        about = f"trained inside the partition, {self.config.preset}; iterations: {_iterations(ended, folder)}"
        self._record(context, "DFMGAN", "trained", source.digest, about, seconds)
        return source

    def painter(self, context: PartitionContext) -> DefectSource:
        """Train the painter, or open a trained or shipped one; it paints on the good training images.

        It paints on images of the original size, which are resized afterwards.
        """
        return ResizedSource(self._painter(context), context.resolution, context.how)

    def _painter(self, context: PartitionContext) -> DefectSource:
        from defect_synth.painter import Painter, train_painter
        from defect_synth.painter.checkpoint import painter_file

        normals = context.good_full_size
        if self.run is not None:
            if painter_file(self.run) is None:
                raise ArmNotPossible(f"the run {self.run.name} has no painter")
            painter = Painter.load(self.run, normals=normals)
            self._record(context, "painter", "given", painter.digest, f"the run {self.run.name}", 0)
            return painter
        if self.shipped.painter is not None:
            painter = Painter.load(self.shipped.painter, normals=normals)
            self._record(context, "painter", "shipped", painter.digest, _SHIPPED, 0)
            return painter
        folder = context.folder / "painter"
        if self._read(context, "painter") is None or not folder.is_dir():
            ended = train_painter(
                context.table, context.split, self.painter_config, folder, resume=(folder / RUN_FILE).exists(),
                report=lambda p: self.report(f"train painter, {p.stage}, {p.text}", p.done_kimg, p.total_kimg),
            )  # fmt: skip
            seconds = sum(stage.seconds for stage in ended.values())
            about = f"trained inside the partition, {self.painter_config.preset}"
            painter = Painter.load(folder, normals=normals)
            self._record(context, "painter", "trained", painter.digest, about, seconds)
            return painter
        return Painter.load(folder, normals=normals)

    def system(self, context: PartitionContext, name: str) -> DefectSource:
        """Train another system of the paper's tables, or open a trained one; none is shipped or taken from a run."""
        method, device = SYSTEMS[name], choose_device(self.device)
        folder = context.folder / method
        if self._read(context, name) is not None and folder.is_dir():
            return open_system(folder, normal=context.good.images, device=device)
        preset = "paper" if self.config.preset == PAPER_256.preset else "fast"
        settings = settings_of(
            method, preset, resolution=context.resolution, seed=self.config.seed,
            changes=dict(self.systems.get(method, {})),
        )  # fmt: skip
        ended = train_system(
            settings, context.table, context.split, folder, resume=(folder / RUN_FILE).exists(), minutes=self.minutes,
            device=device,
            report=lambda p: self.report(f"train {name}, {p.stage}, {p.text}", p.done_kimg, p.total_kimg),
        )  # fmt: skip
        source = open_system(folder, normal=context.good.images, device=device)
        about = f"trained inside the partition, preset {preset}; iterations: {_iterations(ended, folder)}"
        seconds = sum(each.seconds for each in ended.values())
        self._record(context, name, "trained", source.digest, about, seconds)
        return source

    def list_recorded(self, context: PartitionContext) -> None:
        """List the generators of results that were measured in an earlier call."""
        listed = {(r.category, r.partition, r.generator) for r in self.records}
        for name in GENERATORS:
            if (context.category, context.partition, name) not in listed:
                self._read(context, name)

    def _read(self, context: PartitionContext, name: str) -> GeneratorRecord | None:
        record = self.store.read(self._key(context, name), self.settings, GeneratorRecord)
        if record is not None and record not in self.records:
            self.records.append(record)
        return record

    def _record(self, context: PartitionContext, name: str, how: str, digest: str, about: str, seconds: float) -> None:
        record = GeneratorRecord(
            category=context.category, partition=context.partition, generator=name, how=how, digest=digest, about=about,
            seconds=seconds,
        )  # fmt: skip
        self.store.write(self._key(context, name), self.settings, record)
        self.records.append(record)

    @staticmethod
    def _key(context: PartitionContext, name: str) -> tuple[str, ...]:
        return context.category, context.folder.name, "generator", name


def _iterations(stages: Mapping[str, Ended], folder: Path) -> str:
    """Iterations of each stage of a run, in words.

    A call that was interrupted may have completed the backbone, which the next call then leaves alone: its snapshot
    says how long it was trained.
    """
    shown = [
        f"{stage} {ended.iterations}{'' if ended.complete else f' ({OUT_OF_TIME})'}" for stage, ended in stages.items()
    ]
    if BACKBONE not in stages and (folder / BACKBONE / STATE).is_file():
        shown.insert(0, f"{BACKBONE} {iterations_done(folder / BACKBONE)}")
    return ", ".join(shown)


def refuse_leak(run: Path, partition: Partition) -> None:
    """Refuse a run that was trained on test images of `partition`.

    Raises:
        DataError: It was, or there is no way to tell.
    """
    path = run / PARTITION_FILE
    if not path.exists():
        raise DataError(f"{run} has no {PARTITION_FILE}, so there is no proof that it never saw the test images")
    learnt = Partition.load(path)
    if learnt.category != partition.category:
        raise DataError(
            f"{run} was trained on {learnt.category}, not on {partition.category}; give a run of the latter"
        )
    seen = {name for parts in learnt.defects.values() for name in (*parts.base, *parts.validation)}
    leaked = sorted(seen & {name for parts in partition.defects.values() for name in parts.test})
    if leaked:
        raise DataError(
            f"{run} was trained on {len(leaked)} images that are test images of {partition.name} "
            f"(such as {leaked[0]}); train it with --partition {partition.name}, or leave --run out"
        )
