"""All tasks, in the order in which they are done and shown."""

from __future__ import annotations

from defect_synth.benchmark.tasks.classify import ClassificationTask
from defect_synth.benchmark.tasks.detect import DetectionTask
from defect_synth.benchmark.tasks.probe import ProbeTask
from defect_synth.benchmark.tasks.quality import QualityTask
from defect_synth.benchmark.tasks.segment import SegmentationTask
from defect_synth.benchmark.tasks.task import Task
from defect_synth.benchmark.tasks.threshold import ThresholdTask

TASKS: tuple[type[Task], ...] = (
    DetectionTask, ClassificationTask, ProbeTask, QualityTask, SegmentationTask, ThresholdTask,
)  # fmt: skip
