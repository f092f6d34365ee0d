from __future__ import annotations

import torch

from defect_synth.benchmark.environment import compare_environment
from defect_synth.benchmark.result_store import ResultStore


def test_a_benchmark_that_goes_on_with_another_number_of_threads_says_so(tmp_path, caplog):
    store = ResultStore(tmp_path / "measurements")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert compare_environment(store, tmp_path, "cpu") is None
        assert compare_environment(store, tmp_path, "cpu") is None
        assert not caplog.records

        torch.set_num_threads(1)
        note = compare_environment(store, tmp_path, "cpu")
    finally:
        torch.set_num_threads(before)
    assert note == "Begun with 2 threads and continued with 1: trainings differ in their last bits."
    assert "was started with 2 threads and goes on with 1" in caplog.text
