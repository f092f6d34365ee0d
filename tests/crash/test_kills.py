"""Every long command is killed, run again, and ends with the bytes of a run that nobody disturbed.

SIGKILL comes at a random time, or at a random one of the moments at which the command opens, renames, makes or removes
something in its output, where a careless order of writing would show. Some runs are killed again while they continue.

`pytest -m slow tests/crash --kills 100` is the campaign; `-k bank` is one command.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from defect_synth.benchmark.results import without_times
from tests.dfmgan.test_synthesizer import write_run
from tests.fake_data import write_mvtec
from tests.forked import command, import_everything, run_forked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

TINY = ("--method", "dfmgan", "--preset", "TINY", "--defects", "hole", "--device", "cpu",
        "--set", "pretrain.total_kimg=0.032", "--set", "transfer.total_kimg=0.032", "--set", "pretrain.micro_batch=8",
        "--set", "transfer.micro_batch=8", "--set", "pretrain.snapshot_kimg=0.016",
        "--set", "transfer.snapshot_kimg=0.016")  # fmt: skip
PAINTER = ("--method", "painter", "--preset", "PAINT_TINY")
BASELINE = ("--method", "defect-gan", "--resolution", "32", "--device", "cpu", "--set", "channels=4",
            "--set", "blocks=1", "--set", "critic_steps=1", "--set", "stage.batch=4", "--set", "stage.total_kimg=0.064",
            "--set", "stage.snapshot_kimg=0.016")  # fmt: skip
PROTOCOL = """
name = "small"
preset = "TINY"
arms = ["real", "real + Crop&Paste", "real + DFMGAN"]
per_defect = 6
generator = {"pretrain.total_kimg" = 0.016, "transfer.total_kimg" = 0.016}
classifier = {architecture = "test_resnet", steps = 3, batch = 8, evaluations = 2}
segmentation = {steps = 2, batch = 8, channels = 4, levels = 2, arms = ["real"]}
probe = {}
"""


@dataclass(frozen=True)
class Command:
    """A long command.

    Attributes:
        arguments: Of its first run; it writes `out`.
        again: What it needs in addition to continue.
        refused: Whether it ends with exit code 2 if it had ended before it was killed, since its output is there.
    """

    arguments: tuple[str, ...]
    again: tuple[str, ...] = ()
    refused: bool = False


COMMANDS = {
    "train-dfmgan": Command(("train", "data/nut", "-o", "out", *TINY), ("--resume",)),
    "train-painter": Command(("train", "data/nut", "-o", "out", *PAINTER), ("--resume",)),
    "train-baseline": Command(("train", "data/nut", "-o", "out", *BASELINE), ("--resume",)),
    "generate": Command(("generate", "run", "-o", "out", "--count", "12", "--device", "cpu")),
    "bank": Command(("bank", "data/nut", "--real", "-o", "out"), refused=True),
    "export": Command(("export", "made", "-o", "out", "--format", "coco"), refused=True),
    "benchmark": Command(
        ("benchmark", "--data", "data", "--category", "nut", "-o", "out", "--protocol", "small.toml"), ("--resume",)
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    import_everything()
    root = tmp_path_factory.mktemp("inputs")
    write_mvtec(root / "data", defects={"hole": 6, "cut": 6}, good=8, size=48, good_test=3)
    write_run(root / "run")
    (root / "small.toml").write_text(PROTOCOL)
    made = run_forked(command("generate", "run", "-o", "made", "--count", "8", "--device", "cpu"), root)
    assert made.code == 0, made.err
    return root


@dataclass(frozen=True)
class Undisturbed:
    """What a command writes if it is left alone, in how many seconds, and with how many changes of its output."""

    files: dict[str, bytes]
    seconds: float
    changes: int


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory):
    known: dict[str, Undisturbed] = {}

    def of(name: str) -> Undisturbed:
        if name not in known:
            work = fresh(inputs, tmp_path_factory.mktemp("undisturbed") / "work")
            counted = work.parent / "changes"
            ended = run_forked(counting(command(*COMMANDS[name].arguments), work / "out", counted), work)
            assert ended.code == 0, ended.err
            known[name] = Undisturbed(files_of(work / "out"), ended.seconds, int(counted.read_text()))
        return known[name]

    return of


def fresh(inputs: Path, work: Path) -> Path:
    """A working directory with the inputs, as links."""
    work.mkdir(parents=True)
    for path in inputs.iterdir():
        (work / path.name).symlink_to(path)
    return work


def at_changes(output: Path, act: Callable[[int], None]) -> None:
    """Call `act(number)` whenever this process is about to open, rename, make or remove something in its output.

    What is written beside the output and renamed at the end, as `.out.1234.part`, belongs to it.
    """
    places, count = (str(output), str(output.with_name(f".{output.name}"))), 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir") and arguments:
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(places):
                count += 1
                act(count)

    sys.addaudithook(hook)


def counting(call: Callable[[], object], output: Path, result: Path) -> Callable[[], None]:
    def run() -> None:
        number = [0]
        at_changes(output, lambda count: number.__setitem__(0, count))
        try:
            call()
        finally:
            result.write_text(str(number[0]))

    return run


def killed_at(call: Callable[[], object], output: Path, change: int) -> Callable[[], None]:
    def run() -> None:
        at_changes(output, lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == change else None)
        call()

    return run


def files_of(output: Path) -> dict[str, bytes]:
    """All that a command has written, without times: the log's speed, TensorBoard, the benchmark's seconds."""
    found = {}
    for path in sorted(output.rglob("*")):
        name = path.relative_to(output).as_posix()
        if not path.is_file() or "tensorboard" in path.parts or path.name.startswith(".") or path.suffix == ".html":
            continue
        data = path.read_bytes()
        if path.name == "stats.jsonl":
            rows = [json.loads(line) for line in data.splitlines()]
            data = json.dumps([{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]).encode()
        elif path.name == "results.json" or "measurements" in path.parts:
            data = json.dumps(without_times(json.loads(data))).encode()
        elif path.name == "report.md":
            continue  # names its duration; it is made from results.json
        found[name] = data
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_with_the_same_bytes(name, inputs, undisturbed, tmp_path, pytestconfig):
    whole, told = undisturbed(name), COMMANDS[name]
    kills, case, wrong = -(-pytestconfig.getoption("--kills") // len(COMMANDS)), 0, []
    while kills > 0:
        rng, work, done = Random(f"{name} {case}"), fresh(inputs, tmp_path / str(case)), []
        arguments = told.arguments
        for _ in range(min(kills, rng.choice((1, 1, 1, 2, 3)))):
            kills -= 1
            call = command(*arguments)
            if rng.random() < 0.5:
                seconds = rng.uniform(0, whole.seconds)
                ended = run_forked(call, work, kill_after=seconds)
                done.append(f"{seconds:.2f} s")
            else:
                change = rng.randint(1, whole.changes)
                ended = run_forked(killed_at(call, work / "out", change), work)
                done.append(f"change {change}")
            if ended.signal != "SIGKILL" and ended.code != 0 and not (told.refused and ended.code == 2):
                wrong.append(
                    f"case {case}, killed at {', '.join(done)}: {ended.code} {ended.signal} {ended.err[-300:]}"
                )
            arguments = (*told.arguments, *told.again)
        ended = run_forked(command(*arguments), work)
        finished = ended.code == 0 or (told.refused and ended.code == 2 and "already holds something" in ended.err)
        found = files_of(work / "out")
        if not finished:
            wrong.append(f"case {case}, killed at {', '.join(done)}: not continued: {ended.code} {ended.err[-300:]}")
        elif found != whole.files:
            other = sorted(n for n in found.keys() | whole.files.keys() if found.get(n) != whole.files.get(n))
            wrong.append(f"case {case}, killed at {', '.join(done)}: other bytes in {other[:5]}")
        else:
            shutil.rmtree(work)
        case += 1
    assert not wrong, "\n".join(wrong)
