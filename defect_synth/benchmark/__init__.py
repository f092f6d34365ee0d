"""Measure whether generated defects help, in classification, segmentation and thresholds, and how sure that is."""

from defect_synth.benchmark.arms import ARMS, Arm
from defect_synth.benchmark.protocol import Protocol, load_protocol
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.run import BenchmarkRequest, run_benchmark

__all__ = ["ARMS", "Arm", "BenchmarkRequest", "BenchmarkResults", "Protocol", "load_protocol", "run_benchmark"]
