"""The whole comparison from a folder, or from nothing, to a table: data, generators, classifiers, files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from defect_synth.atomic import replacing
from defect_synth.benchmark.classify import ClassifyConfig, LabelledArrays
from defect_synth.benchmark.compare import compare, load_partition
from defect_synth.benchmark.report import BenchmarkResult, format_table
from defect_synth.config import TrainConfig
from defect_synth.data.layouts import Table, index
from defect_synth.data.partitions import Partition, split
from defect_synth.errors import ConfigError, DataError
from defect_synth.samples import DefectSource
from defect_synth.synthesizer import DefectSynthesizer, choose_device
from defect_synth.training.category import PARTITION_FILE, RUN_FILE, train_category

log = logging.getLogger(__name__)

DEMO_CATEGORY = "hazelnut"


class BenchmarkPlan(BaseModel):
    """What to compare, on what, and for how long."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: str
    data: Path | None = None
    run: Path | None = None
    output: Path = Path("runs/benchmark")
    partitions: tuple[str, ...] = ("P1",)
    minutes: float = Field(default=2.5, gt=0, le=10_000)
    steps: int = Field(default=80, ge=1)
    count: int = Field(default=60, ge=1)
    seeds: int = Field(default=1, ge=1, le=100)
    architecture: str = "resnet34"
    weights: Path | None = None
    device: str = "auto"


def run_benchmark(
    plan: BenchmarkPlan, config: TrainConfig, progress: Callable[[str, float, float], None]
) -> tuple[str, list[Path]]:
    """Real images alone against real and synthetic ones, on the same partitions, steps and test images.

    Args:
        plan: What to do. Without `data` the embedded procedural hazelnut is rendered into `output`.
        config: Of the generators; its resolution is also the classifier's.
        progress: Called with (text, done, total).

    Returns:
        The Markdown table, and the files written.

    Raises:
        DataError: Unusable images, or a `run` that has learnt from test images.
        ConfigError: A category that the embedded product does not have.
    """
    side = config.model.backbone.resolution
    device = choose_device(plan.device)
    table = _demo(plan, side, progress) if plan.data is None else index(plan.data, plan.category)
    parts = {name: split(table, name, config.validation_fraction) for name in plan.partitions}
    if plan.run is not None:
        for partition in parts.values():
            _refuse_leak(plan.run, partition)
    generators: dict[str, DefectSource] = {}

    def make_source(name: str, _train: LabelledArrays) -> DefectSource:
        if name in generators:
            return generators[name]
        if plan.run is not None:
            generators[name] = DefectSynthesizer.load(plan.run, device=plan.device)
            return generators[name]
        folder = plan.output / "generators" / name
        summary = train_category(
            table, parts[name], config, folder,
            resume=(folder / RUN_FILE).exists(), minutes=plan.minutes, device=device,
            report=lambda p: progress(f"{name}, train {p.stage}, {p.text}", p.done_kimg, p.total_kimg),
        )  # fmt: skip
        seen = ", ".join(f"{stage} {ended.iterations} iterations" for stage, ended in summary.stages.items())
        log.info("%s: generator trained (%s)", name, seen)
        generators[name] = DefectSynthesizer.load(folder, device=plan.device)
        return generators[name]

    classify = ClassifyConfig(architecture=plan.architecture, steps=plan.steps, weights=plan.weights)
    results: list[BenchmarkResult] = []
    arrays = [load_partition(table, part, side, config.resize) for part in parts.values()]
    results += compare(
        table.category, arrays, make_source, classify,
        synthetic_per_defect=plan.count, seeds=range(plan.seeds), device=str(device), progress=progress,
    )  # fmt: skip
    text = _heading(plan, table, config) + format_table(results)
    files = {
        plan.output / "results.json": json.dumps([result.to_json() for result in results], indent=1) + "\n",
        plan.output / "results.md": text,
    }
    for path, content in files.items():
        with replacing(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return text, list(files)


def _heading(plan: BenchmarkPlan, table: Table, config: TrainConfig) -> str:
    what = "procedural product of this package, not MVTec AD" if plan.data is None else str(table.root.name)
    source = "a given run" if plan.run is not None else f"trained for {plan.minutes:g} min inside each partition"
    start = "from scratch" if plan.weights is None else "pretrained"
    return (
        f"## {table.category} ({what})\n\n{plan.architecture} {start}, "
        f"{config.model.backbone.resolution} px, {plan.steps} steps in every arm, last step scored; "
        f"generator {config.preset}, {source}, {plan.count} images per defect. Accuracy in % with 95 % intervals.\n\n"
    )


def _demo(plan: BenchmarkPlan, side: int, progress: Callable[[str, float, float], None]) -> Table:
    from defect_synth.data.demo import write_demo

    if plan.category != DEMO_CATEGORY:
        raise ConfigError(
            f"the embedded product is {DEMO_CATEGORY!r}; for {plan.category!r} give your images with --data"
        )
    folder = plan.output / f"data-{side}"
    if not (folder / DEMO_CATEGORY).is_dir():
        write_demo(folder, resolution=side, per_defect=36, progress=lambda d, t: progress("render hazelnuts", d, t))
    return index(folder, DEMO_CATEGORY)


def _refuse_leak(run: Path, partition: Partition) -> None:
    """A generator that has seen test images would make its arm worthless."""
    path = run / PARTITION_FILE
    if not path.exists():
        raise DataError(f"{run} has no {PARTITION_FILE}, so it cannot be shown that it never saw the test images")
    learnt = Partition.load(path)
    for defect, part in partition.defects.items():
        known = learnt.defects.get(defect)
        if known is None:
            continue
        leaked = set(part.test) & ({*known.base, *known.validation})
        if leaked:
            raise DataError(
                f"{run} was trained on {len(leaked)} {defect} images that are test images of {partition.name} "
                f"(such as {sorted(leaked)[0]}); train it with --partition {partition.name}, or leave --run out"
            )
