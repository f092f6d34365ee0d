"""Measure whether generated defects help: classification with and without them, and how sure the answer is."""

from defect_synth.benchmark.classify import ClassifyConfig, LabelledArrays, Score, train_and_score
from defect_synth.benchmark.compare import PartitionArrays, compare, load_partition
from defect_synth.benchmark.report import BenchmarkResult, format_table
from defect_synth.benchmark.statistics import (
    mcnemar_exact,
    mean_over_partitions,
    paired_difference,
    wilson_interval,
)

__all__ = [
    "BenchmarkResult",
    "ClassifyConfig",
    "LabelledArrays",
    "PartitionArrays",
    "Score",
    "compare",
    "format_table",
    "load_partition",
    "mcnemar_exact",
    "mean_over_partitions",
    "paired_difference",
    "train_and_score",
    "wilson_interval",
]
