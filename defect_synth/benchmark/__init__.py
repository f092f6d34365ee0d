"""Measure whether adding generated defect images helps, by how much, and how certain that is."""

from defect_synth.benchmark.arms import ARMS, Arm
from defect_synth.benchmark.protocol import BenchmarkProtocol, load_protocol
from defect_synth.benchmark.request import BenchmarkRequest
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.run import run_benchmark

__all__ = ["ARMS", "Arm", "BenchmarkProtocol", "BenchmarkRequest", "BenchmarkResults", "load_protocol", "run_benchmark"]
