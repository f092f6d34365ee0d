"""A run that is killed and resumed ends with the bytes of one that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fake_data import write_mvtec

# One process, one stage to die in. SIGKILL comes from inside, at an exact iteration: no clean-up of any kind runs.
SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from defect_synth.config import override
from defect_synth.dfmgan.config import TINY
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.dfmgan.train import train_dfmgan

data, output, stage, kimg = sys.argv[1:5]
config = override(TINY, {"pretrain.total_kimg": 0.12, "transfer.total_kimg": 0.096,
                         "pretrain.micro_batch": 8, "transfer.micro_batch": 8,  # one part: half the time
                         "pretrain.augment.initial_p": 0.4, "transfer.augment.initial_p": 0.4})
table = index(data)

def report(progress):
    if progress.stage == stage and progress.done_kimg >= float(kimg):
        os.kill(os.getpid(), signal.SIGTERM if "--gently" in sys.argv else signal.SIGKILL)

train_dfmgan(table, everything(table, config.validation_fraction, 0), config, Path(output),
               resume="--resume" in sys.argv, report=report)
"""


def train(data: Path, output: Path, *arguments: str) -> int:
    command = [sys.executable, "-c", SCRIPT, str(data), str(output), *arguments]
    return subprocess.run(command, check=False, timeout=280).returncode


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mvtec(tmp_path_factory.mktemp("data"), category="nut", defects={"hole": 6}, good=12, size=40)


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    assert train(data, output, "none", "0") == 0
    return output


@pytest.mark.parametrize(("stage", "kimg"), [("backbone", "0.104"), ("hole", "0.088")])
def test_killed_and_resumed_run_ends_with_the_same_bytes(stage, kimg, data, uninterrupted, tmp_path):
    output = tmp_path / "run"

    assert train(data, output, stage, kimg) == -signal.SIGKILL
    assert train(data, output, "none", "0", "--resume") == 0

    for part in ("backbone", "defects/hole"):
        for name in ("model.safetensors", "state.safetensors"):
            assert (output / part / name).read_bytes() == (uninterrupted / part / name).read_bytes(), (part, name)
        ours, theirs = ((folder / part / "samples") for folder in (output, uninterrupted))
        assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
        for sheet in ours.iterdir():
            assert sheet.read_bytes() == (theirs / sheet.name).read_bytes()
        assert rows(output / part) == rows(uninterrupted / part)


def test_interrupted_run_saves_at_the_end_of_the_iteration_and_continues_exactly(data, uninterrupted, tmp_path):
    output = tmp_path / "run"

    assert train(data, output, "backbone", "0.088", "--gently") != 0
    assert (output / "backbone" / "state.safetensors").exists()
    assert train(data, output, "none", "0", "--resume") == 0

    for part in ("backbone", "defects/hole"):
        for name in ("model.safetensors", "state.safetensors"):
            assert (output / part / name).read_bytes() == (uninterrupted / part / name).read_bytes(), (part, name)
        # Also the row of the tick that was cut: its first iterations are not forgotten.
        assert rows(output / part) == rows(uninterrupted / part)


def test_frozen_backbone_is_bit_identical_after_stage_2(uninterrupted):
    from defect_synth.dfmgan.checkpoint import DFMGANCard
    from defect_synth.engine.checkpoint import TrainingCard, load_checkpoint

    backbone = load_checkpoint(uninterrupted / "backbone" / "model.safetensors", DFMGANCard, "backbone").tensors
    generator = load_checkpoint(uninterrupted / "defects" / "hole" / "model.safetensors", DFMGANCard, "dfmgan").tensors
    state = load_checkpoint(uninterrupted / "defects" / "hole" / "state.safetensors", TrainingCard).tensors
    for name, tensor in backbone.items():
        assert generator[f"backbone.{name}"].equal(tensor), name
        assert state[f"module.generator.backbone.{name}"].equal(tensor), name
    moved = [name for name in generator if name.startswith("residual.") and name.endswith("conv.weight")]
    assert moved


def rows(folder: Path) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]
