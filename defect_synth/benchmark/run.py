"""The whole benchmark: data, partitions, arms, results, report. It can be stopped at any time and continued."""

from __future__ import annotations

from pathlib import Path

from defect_synth.atomic import writing_alone
from defect_synth.benchmark.context import PartitionContext
from defect_synth.benchmark.environment import compare_environment
from defect_synth.benchmark.generators import Generators, refuse_leak
from defect_synth.benchmark.labelled import load_partition
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.partition_run import GENERATOR_LENGTH, PartitionRun
from defect_synth.benchmark.partitioning import learnable, make_partition
from defect_synth.benchmark.plan import Plan
from defect_synth.benchmark.product import embedded_product
from defect_synth.benchmark.progress import OverallProgress, ProgressCallback
from defect_synth.benchmark.protocol import BenchmarkProtocol
from defect_synth.benchmark.report.report import write_report
from defect_synth.benchmark.request import BenchmarkRequest
from defect_synth.benchmark.result_store import ResultStore, file_name
from defect_synth.benchmark.results import BenchmarkResults, ProductRecord
from defect_synth.benchmark.results_builder import ResultsBuilder
from defect_synth.benchmark.synthetic_images import LENGTH as DRAWING_LENGTH
from defect_synth.data.layouts import Table, index
from defect_synth.data.partitions import Partition
from defect_synth.data.store import load
from defect_synth.errors import OutputError
from defect_synth.nn.memory import keep_memory

_PRODUCT_LENGTH = 0.5
"""Estimated time of drawing the embedded product, in classifier trainings."""


def run_benchmark(
    request: BenchmarkRequest, protocol: BenchmarkProtocol, report: ProgressCallback | None = None
) -> BenchmarkResults:
    """Measure every arm on every partition; write `results.json`, `report.md` and `report.html` into the output.

    Args:
        request: Which data to measure, where to write, and which generators to use.
        protocol: What is compared.
        report: Called with (what is being done, percent done, 100).

    Raises:
        DataError: Images cannot be used, or a given run was trained on test images.
        ConfigError: Something in the request or the protocol is unknown or contradictory.
        OutputError: The output holds another benchmark, cannot be written, or another process is writing it.
    """
    plan = Plan.of(request, protocol)
    store = ResultStore(request.output / "measurements")
    with writing_alone(request.output):
        if store.exists and not request.resume:
            raise OutputError(
                f"{request.output} holds a benchmark already; continue it with --resume or choose another --output"
            )
        return _Benchmark(plan, store, report).run()


class _Benchmark:
    def __init__(self, plan: Plan, store: ResultStore, report: ProgressCallback | None) -> None:
        self._plan, self._store = plan, store
        self._builder = ResultsBuilder(plan)
        self._progress = OverallProgress(report, _total_length(plan))

    def run(self) -> BenchmarkResults:
        keep_memory()
        if note := compare_environment(self._store, self._plan.request.output, self._plan.device):
            self._builder.add_note(note)
        for category in self._plan.request.categories:
            table = self._load_table(category)
            for name in self._plan.protocol.partitions:
                self._measure_partition(table, name)
                results = self._builder.build()
                write_report(results, self._plan.request.output)
        self._progress.finish("benchmark finished")
        return results

    def _load_table(self, category: str) -> Table:
        """The images of a category, or the embedded product."""
        request, side = self._plan.request, self._plan.resolution
        if request.data is not None:
            table = index(request.data, category)
            about = f"images of {table.root.name}, layout {table.layout}"
        else:
            progress = self._progress.part("draw the embedded product", _PRODUCT_LENGTH)
            table = embedded_product(category, request.output, side, self._plan.protocol.product, progress)
            about = "the embedded procedural product of this package, NOT MVTec AD"
        self._progress.complete(_PRODUCT_LENGTH / len(request.categories))
        self._builder.products.append(
            ProductRecord(
                category=table.category, procedural=request.data is None, about=about, resolution=side,
                good=len(table.good), defects={defect: len(table.of(defect)) for defect in table.defects},
            )
        )  # fmt: skip
        return table

    def _measure_partition(self, whole: Table, name: str) -> None:
        protocol = self._plan.protocol
        table, partition = make_partition(whole, name, protocol.validation_fraction, protocol.shots)
        generators = self._generators(partition)
        data = self._load_partition(table, partition, generators)
        known = len(self._builder.generators)
        PartitionRun(self._plan, data, self._store, self._builder, self._progress).run()
        trained = len(self._builder.generators) - known
        generators.list_recorded(data.context)
        self._progress.complete(GENERATOR_LENGTH * (_generators_per_partition(self._plan) - trained))

    def _generators(self, partition: Partition) -> Generators:
        plan, request, run = self._plan, self._plan.request, None
        if request.run is not None:
            names = {"{category}": partition.category, "{partition}": partition.name}
            text = str(request.run)
            for placeholder, value in names.items():
                text = text.replace(placeholder, value)
            run = Path(text)
            refuse_leak(run, partition)
        return Generators(
            config=plan.train_config, minutes=plan.protocol.minutes, run=run, shipped=plan.shipped,
            painter_config=plan.protocol.painter_config(), systems=plan.protocol.systems, device=request.device,
            report=lambda text, done, total: self._progress.update(
                f"{partition.name}: {text}", GENERATOR_LENGTH, done, total
            ),
            store=self._store, settings=plan.settings_digest(partition, "generator"), records=self._builder.generators,
        )  # fmt: skip

    def _load_partition(self, table: Table, partition: Partition, generators: Generators) -> PartitionData:
        plan, protocol = self._plan, self._plan.protocol
        side, how = plan.resolution, plan.train_config.resize
        arrays = load_partition(table, partition, side, how, with_good=protocol.with_good)
        records = partition.records(table, "test", None)
        shots = "" if protocol.shots == "all" else f"-{protocol.shots}-shot"
        key = (partition.category, f"{partition.name}{shots}")
        learnt_table, learnt_split = learnable(table, partition)
        context = PartitionContext(
            category=partition.category, partition=partition.name, table=learnt_table, split=learnt_split,
            base=arrays.base, validation=arrays.validation, resolution=side, how=how,
            procedural=plan.request.data is None,
            folder=plan.request.output.joinpath("generators", *(file_name(part) for part in key)),
            make_dfmgan=generators.dfmgan, make_painter=generators.painter, make_system=generators.system,
            textures=protocol.textures,
        )  # fmt: skip
        return PartitionData(partition, context, arrays.test, load(records, side, how) if records else None, key)


def _generators_per_partition(plan: Plan) -> int:
    return 1 + sum(bool(arm.system) for arm in plan.arms)


def _total_length(plan: Plan) -> float:
    """Estimated time of the benchmark, in classifier trainings."""
    per_partition = GENERATOR_LENGTH * _generators_per_partition(plan) + DRAWING_LENGTH * len(plan.arms)
    per_partition += sum(task.length * len(task.trials(arm)) for task in plan.tasks for arm in plan.arms)
    return _PRODUCT_LENGTH + len(plan.request.categories) * len(plan.protocol.partitions) * per_partition
