"""The commands as a user types them, from check to generate, each once and small; and how they end on Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import cv2
import pytest

from defect_synth.cli import main
from tests.fake_data import write_mvtec

TICK = (
    "--method", "dfmgan", "--preset", "TINY",
    "--set", "pretrain.total_kimg=0.016", "--set", "transfer.total_kimg=0.008",
    "--set", "pretrain.micro_batch=8", "--set", "transfer.micro_batch=8",
)  # fmt: skip


def run(monkeypatch, capsys, *arguments, code=0):
    """What a command prints on standard output."""
    monkeypatch.setattr(sys, "argv", ["defect-synth", *map(str, arguments)])
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        for number, handler in before:
            signal.signal(number, handler)
    said = capsys.readouterr()
    assert (ended.value.code or 0) == code, said.err
    return said


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mvtec(tmp_path_factory.mktemp("data"), category="nut", defects={"hole": 5}, good=10, size=40)


@pytest.fixture
def trained(data, tmp_path, monkeypatch, capsys):
    return tmp_path / "run", run(monkeypatch, capsys, "train", data, "-o", tmp_path / "run", *TICK).out


def test_train_generate_and_info_follow_each_other(trained, tmp_path, monkeypatch, capsys):
    folder, said = trained
    assert "nut: TINY, 32 px" in said
    assert "threads: 1\n" in said
    assert json.loads((folder / "run.json").read_text())["threads"] == 1
    assert "hole: 0.01 kimg, best at 0.01 kimg (score " in said
    assert f"next: defect-synth generate {folder}" in said
    rows = [json.loads(line) for line in (folder / "backbone" / "stats.jsonl").read_text().splitlines()]
    assert rows[-1]["iteration"] == 2

    said = run(monkeypatch, capsys, "generate", folder, "-o", tmp_path / "synthetic", "--count", 3).out
    assert "contact_sheet.png" in said
    for shard in ("2/2", "1/2"):
        said = run(
            monkeypatch, capsys, "generate", folder, "-o", tmp_path / "parts", "--count", 3, "--shard", shard
        ).out
        assert ("other parts are not yet" in said) == (shard == "2/2")
    for one in (tmp_path / "synthetic").rglob("*.*"):
        assert one.read_bytes() == (tmp_path / "parts" / one.relative_to(tmp_path / "synthetic")).read_bytes()
    assert len(list((tmp_path / "synthetic").rglob("test/hole/*.png"))) == 3

    said = run(monkeypatch, capsys, "info", folder / "defects" / "hole" / "model.safetensors").out
    assert "kind: dfmgan" in said
    assert "defect: hole" in said
    assert "sha256: " in said

    said = run(monkeypatch, capsys, "train", data_of(folder), "-o", folder, *TICK, "--resume").out
    assert "hole: 0.01 kimg" in said  # nothing left to do, and it says so in no time


def data_of(folder):
    return json.loads((folder / "run.json").read_text())["data"]


def test_check_counts_what_is_there(data, monkeypatch, capsys):
    said = run(monkeypatch, capsys, "check", data).out
    assert "nut" in said
    assert "hole" in said
    assert "10" in said


def test_demo_data_is_what_check_accepts(tmp_path, monkeypatch, capsys):
    said = run(
        monkeypatch, capsys, "demo-data", tmp_path, "--resolution", 32, "--good", 4, "--per-defect", 2
    ).out  # fmt: skip
    folder = tmp_path / "hazelnut"
    assert said.strip() == str(folder)
    assert len(list((folder / "train" / "good").iterdir())) == 4
    assert {path.name for path in (folder / "test").iterdir()} >= {"crack", "cut", "hole", "print"}
    image = cv2.imread(str(next((folder / "train" / "good").iterdir())))
    assert image.shape == (32, 32, 3)


def test_info_of_the_paper_has_its_parameter_counts(monkeypatch, capsys):
    said = run(monkeypatch, capsys, "info", "--preset", "PAPER_256").out
    for count in ("23,191,522", "3,669,703", "24,001,089", "1,502,113"):
        assert count in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_says_how_to_go_on_and_exits_with_130(number, data, tmp_path, monkeypatch, capsys):
    import defect_synth.data.layouts as layouts

    def interrupted(*_):
        os.kill(os.getpid(), number)

    monkeypatch.setattr(layouts, "index", interrupted)
    said = run(monkeypatch, capsys, "train", data, "-o", tmp_path / "run", *TICK, code=130)
    assert said.err == (
        "interrupted; everything finished so far is kept, continue with the same command (train, benchmark: --resume)\n"
    )


def test_of_several_processes_the_first_one_speaks(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    huge = ("--method", "dfmgan", "--preset", "HUGE")
    said = run(monkeypatch, capsys, "train", data, "-o", tmp_path / "run", *huge, code=2)
    assert said.err == ""  # the first process says the same
    said = run(monkeypatch, capsys, "train", tmp_path / "nowhere", "-o", tmp_path / "run", *TICK, code=2)
    assert said.err.startswith("error in process 1: ")  # may be wrong with this machine alone


def test_the_module_runs_as_the_console_script_does():
    done = subprocess.run(
        [sys.executable, "-m", "defect_synth", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0.1.0"


@pytest.mark.parametrize(("given", "expected"), [(None, "passive"), ("active", "active")])
def test_threads_wait_without_using_their_processor_unless_the_user_says_otherwise(
    given, expected, monkeypatch, capsys
):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    run(monkeypatch, capsys, "--version")
    assert os.environ["OMP_WAIT_POLICY"] == expected
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # so that what main has set is undone after the test


@pytest.mark.parametrize("name", ["demo", "demo-bank", "demo-dfmgan"])
def test_info_describes_whatever_the_door_opens(name, monkeypatch, capsys):
    said = run(monkeypatch, capsys, "info", name).out
    assert "category: hazelnut" in said
    assert "defect: crack" in said


def test_info_reads_the_card_of_a_painter(monkeypatch, capsys):
    from defect_synth.demo.models import shipped_painter

    said = run(monkeypatch, capsys, "info", shipped_painter()).out
    assert "kind: painter" in said
    assert "sha256: " in said


def test_a_painters_run_is_packed_as_one_file_that_paints_alike(tmp_path, monkeypatch, capsys):
    import shutil

    import numpy as np

    from defect_synth.demo.models import shipped_painter
    from defect_synth.open import open_source

    (tmp_path / "run" / "painter").mkdir(parents=True)
    shutil.copy(shipped_painter(), tmp_path / "run" / "painter" / "model.safetensors")
    said = run(monkeypatch, capsys, "pack", tmp_path / "run", "-o", tmp_path / "one.safetensors").out
    assert "crack, cut, hole, print" in said
    before, after = (open_source(tmp_path / name).sample("hole", [3])[0] for name in ("run", "one.safetensors"))
    np.testing.assert_array_equal(before.image, after.image)


def test_a_generated_folder_cannot_be_packed_and_says_so(tmp_path, monkeypatch, capsys):
    run(monkeypatch, capsys, "generate", "demo-bank", "-o", tmp_path / "made", "--count", 1)
    said = run(monkeypatch, capsys, "pack", tmp_path / "made", "-o", tmp_path / "one.safetensors", code=2)
    assert "is a generated folder, which cannot be written as one file" in said.err
