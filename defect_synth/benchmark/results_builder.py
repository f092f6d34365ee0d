"""Collects what a benchmark measures until it is reported."""

from __future__ import annotations

import time
from collections import defaultdict

from defect_synth.benchmark.comparisons import auroc_difference, compare_arms
from defect_synth.benchmark.environment import describe_environment
from defect_synth.benchmark.generators import GENERATORS, OUT_OF_TIME
from defect_synth.benchmark.plan import Plan
from defect_synth.benchmark.results import (
    ArmRecord,
    BenchmarkResults,
    GalleryRecord,
    GeneratorRecord,
    ProductRecord,
)
from defect_synth.benchmark.task_results import ArmResult, TaskResult, ThresholdResult
from defect_synth.benchmark.tasks.detect import DetectionTask
from defect_synth.benchmark.tasks.threshold import one_per_partition


class ResultsBuilder:
    """Everything that has been measured so far.

    Attributes:
        products: The images of each category.
        generators: Where generators came from.
        gallery: Pictures of samples.
        missing: Arm -> category and partition -> why it is missing there.
        earlier_seconds: Wall time of results that an earlier call measured.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._started = time.perf_counter()
        self._results: dict[str, list[TaskResult]] = defaultdict(list)
        self._notes: dict[str, None] = {}
        self.products: list[ProductRecord] = []
        self.generators: list[GeneratorRecord] = []
        self.gallery: list[GalleryRecord] = []
        self.missing: dict[str, dict[str, str]] = {arm.name: {} for arm in plan.arms}
        self.earlier_seconds = 0.0
        for task in plan.tasks:
            if not any(task.trials(arm) for arm in plan.arms):
                self.add_note(f"{task.name}: not measured, since none of the arms takes part in it.")

    def add(self, task: str, result: TaskResult) -> None:
        """Add a result of a task."""
        self._results[task].append(result)

    def add_note(self, note: str) -> None:
        """Add a sentence to the report, unless it is there already."""
        self._notes[note] = None

    def build(self) -> BenchmarkResults:
        """The results so far."""
        plan = self._plan
        generators = sorted(self.generators, key=self._place)
        for record in generators:
            if OUT_OF_TIME in record.about:
                whose = f"{record.generator} of {record.category} {record.partition}"
                self.add_note(f"{whose} ran out of training time: its arms say little about the method; see --minutes.")
        comparisons = []
        for task in plan.tasks:
            measured = [result for result in self._results[task.name] if isinstance(result, ArmResult)]
            if task.name == DetectionTask.name:
                comparisons += compare_arms(measured, task.name, auroc_difference)
                comparisons += compare_arms(measured, DetectionTask.pixels)
            elif task.compared_figure:
                comparisons += compare_arms(measured, task.name)
        results = {task.name: self._results[task.name] for task in plan.tasks}
        thresholds = [result for result in self._results["thresholds"] if isinstance(result, ThresholdResult)]
        required: dict[str, list[TaskResult]] = {"classification": [], "segmentation": []}
        return BenchmarkResults(
            protocol=plan.described_protocol(), weights=plan.weights_digest,
            environment=describe_environment(plan.device), products=tuple(self.products),
            generators=tuple(generators), arms=self._arms(), comparisons=tuple(comparisons),
            gallery=tuple(self.gallery), notes=tuple(self._notes),
            seconds=self.earlier_seconds + time.perf_counter() - self._started,
            **(required | results | {"thresholds": one_per_partition(thresholds)}),
        )  # fmt: skip

    def _arms(self) -> tuple[ArmRecord, ...]:
        records = []
        for arm in self._plan.arms:
            absent = {task.name: reason for task in self._plan.tasks if (reason := task.exclusion(arm))}
            records.append(
                ArmRecord(name=arm.name, about=arm.about, missing=self.missing[arm.name], absent=absent,
                          masks=arm.masks, system=arm.system)
            )  # fmt: skip
        return tuple(records)

    def _place(self, record: GeneratorRecord) -> tuple[int, int, int]:
        """The same order whether this call trained a generator or found it."""
        categories = [product.category for product in self.products]
        partition = self._plan.protocol.partitions.index(record.partition)
        return categories.index(record.category), partition, GENERATORS.index(record.generator)
