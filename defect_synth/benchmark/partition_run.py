"""One partition of the benchmark: every arm, one after another, in every task."""

from __future__ import annotations

from defect_synth.benchmark.arms import Arm
from defect_synth.benchmark.context import ArmNotPossible
from defect_synth.benchmark.labelled import with_one_label
from defect_synth.benchmark.partition_data import PartitionData
from defect_synth.benchmark.plan import Plan
from defect_synth.benchmark.progress import OverallProgress
from defect_synth.benchmark.report.gallery import write_gallery
from defect_synth.benchmark.result_store import ResultStore, file_name
from defect_synth.benchmark.results import GalleryRecord
from defect_synth.benchmark.results_builder import ResultsBuilder
from defect_synth.benchmark.synthetic_images import LENGTH as DRAWING_LENGTH
from defect_synth.benchmark.synthetic_images import ImageDrawer
from defect_synth.benchmark.task_results import ArmResult
from defect_synth.benchmark.tasks.task import ArmData, Task, Trial
from defect_synth.data.png import png_size

GENERATOR_LENGTH = 5.0
"""Estimated time of training a generator, in classifier trainings."""


class PartitionRun:
    """Measures the arms of a benchmark on one partition, except for what the result store has already.

    Arms are measured one after another, so that the generated images of only one arm are in memory.

    Args:
        plan: What is measured.
        data: The images of the partition.
        store: Finished results.
        builder: Where results are collected.
        progress: Where progress is reported.
    """

    def __init__(
        self, plan: Plan, data: PartitionData, store: ResultStore, builder: ResultsBuilder, progress: OverallProgress
    ) -> None:
        self._plan, self._data, self._store, self._builder, self._progress = plan, data, store, builder, progress
        self._drawer = ImageDrawer(data.context, data.test, plan.protocol.per_defect, progress)

    def run(self) -> None:
        """Measure every arm; one that is not possible here is listed with its reason."""
        tasks = []
        for task in self._plan.tasks:
            obstacle = task.obstacle(self._data)
            if obstacle:
                self._builder.add_note(obstacle)
            else:
                tasks.append(task)
        for arm in self._plan.arms:
            known_generators = len(self._builder.generators)
            try:
                self._measure_arm(arm, tasks)
            except ArmNotPossible as reason:
                self._builder.missing[arm.name][self._data.label] = str(reason)
            self._progress.complete(GENERATOR_LENGTH * (len(self._builder.generators) - known_generators))
            self._progress.complete(DRAWING_LENGTH)

    def _measure_arm(self, arm: Arm, tasks: list[Task]) -> None:
        arm_data = ArmData(self._data, arm, self._drawer)
        seconds_of_source = 0.0
        for task in tasks:
            for trial in task.trials(arm):
                key = (*self._data.key, task.name, arm.name, f"ratio-{trial.ratio:g}-seed-{trial.seed}")
                settings = self._plan.settings_digest(self._data.partition, task.settings, arm)
                result = self._store.read(key, settings, task.record)
                if result is None:
                    text = f"{self._data.context.partition}: {_describe(task, arm, trial)}"
                    result = task.measure(arm_data, trial, self._progress.part(text, task.length))
                    self._store.write(key, settings, result)
                else:
                    self._builder.earlier_seconds += result.seconds
                    if isinstance(result, ArmResult):
                        seconds_of_source = result.seconds_of_source
                self._builder.add(task.name, result)
                self._progress.complete(task.length)
        self._show_samples(arm)
        if not self._drawer.has_drawn(arm):
            self._builder.earlier_seconds += seconds_of_source

    def _show_samples(self, arm: Arm) -> None:
        if arm.share == 0:
            return
        key = (*self._data.key, "gallery", arm.name)
        settings = self._plan.settings_digest(self._data.partition, "gallery", arm)
        file = "/".join(("gallery", *self._data.folders, f"{file_name(arm.name)}.png"))
        path = self._plan.request.output / file
        record = self._store.read(key, settings, GalleryRecord)
        if record is None or png_size(path) is None:
            images, context = self._drawer.images_of(arm).arrays, self._data.context
            assert images is not None
            gallery = write_gallery(images, context.base if arm.labelled else with_one_label(context.base), path)
            record = GalleryRecord(
                category=context.category, partition=context.partition, arm=arm.name, file=file, **gallery._asdict()
            )
            self._store.write(key, settings, record)
        self._builder.gallery.append(record)


def _describe(task: Task, arm: Arm, trial: Trial) -> str:
    return f"{task.name}, {arm.name}, seed {trial.seed}"
