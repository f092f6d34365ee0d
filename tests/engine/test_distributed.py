"""Two processes train to the same bytes as one, even if they are stopped and resumed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.dfmgan.config import PAPER_256, TINY
from defect_synth.dfmgan.train import require_shares, train_dfmgan
from defect_synth.engine.distributed import Processes, joined, processes
from defect_synth.errors import ConfigError
from tests.fake_data import write_mvtec

SETTINGS = {
    "pretrain.total_kimg": 0.04, "transfer.total_kimg": 0.032, "pretrain.augment.initial_p": 0.4,
    "pretrain.snapshot_kimg": 0.128, "transfer.protocol.shared_noise": False,
}  # fmt: skip

# Runs in each of two processes, as `torchrun` would start them.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from defect_synth.config import override
from defect_synth.dfmgan.config import TINY
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import DefectSynthError, UnknownDefectError
from defect_synth.engine import loop
from defect_synth.dfmgan.train import train_dfmgan
from defect_synth.engine.distributed import joined, processes

data, output, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
seen = {}

def train(resume):
    table = index(data)
    return train_dfmgan(table, everything(table, TINY.validation_fraction, 0), override(TINY, settings), output,
                          resume=resume, report=lambda progress: seen.setdefault("reports", 0))

with joined("auto") as (team, device):
    seen |= {"rank": team.rank, "device": device}
    try:
        team.from_first(lambda: (_ for _ in ()).throw(UnknownDefectError("holes", "nut", ("hole",))))
    except DefectSynthError as error:
        seen |= {"error": type(error).__name__, "text": str(error)}
    iterate, done = loop._iterate, []

    def until_stopped(*arguments):
        terms = iterate(*arguments)
        done.append(arguments[1])
        if team.rank == 1 and len(done) == 3:
            os.kill(os.getpid(), signal.SIGTERM)  # the second process only
        return terms

    loop._iterate = until_stopped
    try:
        train(resume=False)
    except KeyboardInterrupt:
        seen["stopped_after"] = len(done)
    loop._iterate = iterate
    ended = train(resume=True)
    seen["iterations"] = {name: step.iterations for name, step in ended.items()}
assert processes().world == 1
print(json.dumps(seen))
"""


def rows(path):
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of one process, the same run of two that were interrupted, and what these two printed."""
    root = tmp_path_factory.mktemp("runs")
    data = write_mvtec(root / "data", category="nut", defects={"hole": 6}, good=12, size=40)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                   "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, str(data), str(root / "two"), json.dumps(SETTINGS)]
    started = [
        subprocess.Popen(
            command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    table = index(data)
    train_dfmgan(table, everything(table, TINY.validation_fraction, 0), override(TINY, SETTINGS), root / "one")
    said = []
    for process in started:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        said.append(json.loads(out))
    return root / "one", root / "two", said


@pytest.mark.parametrize("part", ["backbone", "defects/hole"])
def test_two_processes_end_with_the_bytes_of_one(runs, part):
    one, two, _ = runs
    for name in ("model.safetensors", "state.safetensors"):
        assert (one / part / name).read_bytes() == (two / part / name).read_bytes(), name
    sheets = sorted(path.name for path in (one / part / "samples").iterdir())
    # There is no contact sheet of the iteration at which they were stopped.
    assert sheets == sorted(path.name for path in (two / part / "samples").iterdir())


@pytest.mark.parametrize("part", ["backbone", "defects/hole"])
def test_losses_in_the_log_are_equal_and_written_once(runs, part):
    one, two, _ = runs
    ours = rows(one / part / "stats.jsonl")
    assert ours == rows(two / part / "stats.jsonl")
    assert {"generator", "discriminator", "r1_penalty", "path_length"} <= ours[0].keys()


def test_all_stop_when_one_is_stopped_and_all_resume(runs):
    _, _, said = runs
    assert [process["stopped_after"] for process in said] == [3, 3]
    assert [process["iterations"] for process in said] == [{"backbone": 5, "hole": 4}] * 2


def test_the_first_process_alone_reports(runs):
    assert [("reports" in process, process["device"]) for process in runs[2]] == [(True, "cpu"), (False, "cpu")]


def test_an_error_in_the_first_process_is_raised_in_all(runs):
    assert [process["error"] for process in runs[2]] == ["UnknownDefectError", "ToldElsewhereError"]
    assert {process["text"] for process in runs[2]} == {"unknown defect 'holes' for nut; known: hole"}


def test_parts_are_shared_evenly_in_order_or_refused():
    parts = [(0, 4), (4, 8), (8, 12), (12, 16)]
    assert [list(Processes(rank, 2).share(parts, "a batch")) for rank in range(2)] == [parts[:2], parts[2:]]
    with pytest.raises(ConfigError, match=r"a batch of 16 is cut into 4 parts, which 3 processes cannot share evenly"):
        Processes(0, 3).share(parts, "a batch of 16")


@pytest.mark.parametrize(
    ("world", "advice"),
    [
        (4, r"--set pretrain\.micro_batch=8$"),
        (8, r"--set pretrain\.micro_batch=4$"),
        (3, "another number of processes$"),
    ],
)
def test_a_number_of_processes_that_cannot_share_a_batch_is_refused_with_a_micro_batch_that_can(world, advice):
    require_shares(PAPER_256, Processes(0, 2))
    with pytest.raises(ConfigError, match=rf"a batch of 32 in parts of 16 .* {world} processes; use {advice}"):
        require_shares(PAPER_256, Processes(0, world))


def test_a_single_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as (team, device):
        assert (team, device) == (Processes(0, 1), "cpu")
        assert processes().first
        assert team.from_first(lambda: 7) == 7
        assert team.any_of([True, False], device="cpu") == [True, False]


def test_one_device_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(ConfigError, match="--device cuda:1 is one device, but 2 processes"), joined("cuda:1"):
        pass
