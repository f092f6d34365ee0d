from __future__ import annotations

import pytest
import torch

from defect_synth.benchmark.generators import _iterations
from defect_synth.engine.checkpoint import TrainingCard, save_checkpoint
from defect_synth.engine.loop import Ended
from defect_synth.errors import CheckpointError

HOLE = {"hole": Ended(3, True, None, 0.0, 1.0)}


def write_state(folder, **numbers):
    tensors = {f"number.{name}": torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    save_checkpoint(folder / "state.safetensors", TrainingCard(category="nut", method="dfmgan"), tensors)


def test_a_backbone_of_an_interrupted_call_is_listed_as_in_a_call_that_nobody_interrupted(tmp_path):
    backbone = {"backbone": Ended(7, True, None, 0.0, 1.0)}
    whole = _iterations(backbone | HOLE, tmp_path)
    write_state(tmp_path / "backbone", iteration=7.0, best_score=float("nan"), best_kimg=0.0)
    assert _iterations(HOLE, tmp_path) == whole == "backbone 7, hole 3"
    assert _iterations(backbone | HOLE, tmp_path) == whole


def test_a_stage_that_ran_out_of_time_says_so(tmp_path):
    assert _iterations({"hole": Ended(3, False, None, 0.0, 1.0)}, tmp_path) == "hole 3 (out of time)"


@pytest.mark.parametrize("numbers", [{}, {"iteration": -1.0}, {"iteration": float("inf")}, {"iteration": [1.0, 2.0]}])
def test_a_damaged_snapshot_is_one_line(numbers, tmp_path):
    write_state(tmp_path / "backbone", **numbers)
    with pytest.raises(CheckpointError, match="does not hold a whole snapshot"):
        _iterations(HOLE, tmp_path)
