"""Training a painter: a run that is killed and resumed ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.train import train_painter
from tests.fake_data import write_mvtec

# The process kills itself at an exact iteration, so no clean-up of any kind runs.
SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.painter.train import train_painter
from defect_synth.config import override
from defect_synth.painter.config import PAINT_TINY

data, output, stage, kimg = sys.argv[1:5]
config = override(PAINT_TINY, {"backbone.total_kimg": 0.024, "painter.total_kimg": 0.032,
                               "backbone.snapshot_kimg": 0.016, "painter.snapshot_kimg": 0.016})
table = index(data)

def report(progress):
    if progress.stage == stage and progress.done_kimg >= float(kimg):
        os.kill(os.getpid(), signal.SIGKILL)

train_painter(table, everything(table, 0.0, 0), config, Path(output), resume="--resume" in sys.argv, report=report)
"""


def train_in_a_process(data: Path, output: Path, *arguments: str) -> int:
    command = [sys.executable, "-c", SCRIPT, str(data), str(output), *arguments]
    return subprocess.run(command, check=False, timeout=280, cwd=Path(__file__).parents[2], env=os.environ).returncode


class Killed(BaseException):
    """Stands for a killed process: nothing catches it."""


def test_a_run_that_dies_and_is_resumed_ends_with_the_same_bytes(tmp_path):
    table = index(write_mvtec(tmp_path, category="nut", defects={"hole": 2, "cut": 2}, good=3, size=40))
    lengths = {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.032, "painter.snapshot_kimg": 0.016}
    config = override(PAINT_TINY, lengths)

    def die(progress):
        if progress.stage == "painter" and progress.done_kimg >= 0.024:
            raise Killed

    def train(name, report=None, resume=False):
        train_painter(table, everything(table, 0.0, 0), config, tmp_path / name, resume=resume, report=report)

    train("whole")
    with pytest.raises(Killed):
        train("cut", report=die)
    torch.manual_seed(99)  # nothing may depend on the global state
    train("cut", resume=True)

    for name in ("painter/backbone/state.safetensors", "painter/state.safetensors", "painter/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.slow
def test_killed_and_resumed_run_ends_with_the_same_bytes(tmp_path):
    data = write_mvtec(tmp_path, category="nut", defects={"hole": 3, "cut": 2}, good=4, size=48)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train_in_a_process(data, whole, "none", "0") == 0

    assert train_in_a_process(data, cut, "painter", "0.024") == -signal.SIGKILL
    assert train_in_a_process(data, cut, "none", "0", "--resume") == 0

    for name in ("painter/backbone/state.safetensors", "painter/state.safetensors", "painter/model.safetensors"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
