"""The examples for clusters, as far as they can be tried without one."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest
import typer.main

from defect_synth.cli import app
from tests.fake_sources import Dots, tree

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = {
    "slurm_train.sh": {"SLURM_NNODES": "2", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"},
    "slurm_generate_array.sh": {"SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "2"},
}


def run_with_stubs(name, folder):
    """Run a script with `srun` and `scontrol` that print what they were asked to do."""
    folder.mkdir(exist_ok=True)
    for stub, text in {"srun": 'printf "%q " "$@"', "scontrol": "printf 'n1\\nn2\\n'"}.items():
        (folder / stub).write_text(f"#!/bin/bash\n{text}\n")
        (folder / stub).chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder), **SCRIPTS[name]}
    done = subprocess.run(["bash", EXAMPLES / name], env=environment, capture_output=True, text=True, check=True)
    return shlex.split(done.stdout)


def parsed(words):
    """Parameters that the command line of our program gives, without running it."""
    command = typer.main.get_command(app).commands[words[0]]
    return command.make_context(words[0], list(words[1:])).params


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_is_valid_bash_with_scheduler_options_on_top(name):
    subprocess.run(["bash", "-n", EXAMPLES / name], check=True)
    lines = (EXAMPLES / name).read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert options  # the scheduler stops reading at the first command
    assert max(options) < first_command


def test_training_starts_our_command_once_per_gpu_and_resumes_what_is_there(tmp_path):
    words = run_with_stubs("slurm_train.sh", tmp_path)
    launcher, ours = words[: words.index("-m")], words[words.index("defect_synth") + 1 :]
    assert launcher[:3] == ["torchrun", "--nnodes", "2"]
    assert launcher[-2:] == ["--rdzv-endpoint", "n1:29500"]
    options = parsed(ours)
    assert (options["preset"], options["category"], options["resume"]) == ("PAPER_256", "hazelnut", False)
    # 2 machines of 4 GPUs share 32 images, 4 each.
    assert options["settings"] == ["pretrain.micro_batch=4", "transfer.micro_batch=4"]
    (tmp_path / "runs" / "hazelnut").mkdir(parents=True)
    (tmp_path / "runs" / "hazelnut" / "run.json").write_text("{}")
    assert run_with_stubs("slurm_train.sh", tmp_path)[-1] == "--resume"


def test_each_job_of_the_array_draws_its_own_part(tmp_path):
    words = run_with_stubs("slurm_generate_array.sh", tmp_path)
    options = parsed(words[words.index("defect-synth") + 1 :])
    assert (options["shard"], options["count"]) == ("3/16", 1000)
    parts = re.search(r"--array=1-(\d+)", (EXAMPLES / "slurm_generate_array.sh").read_text())
    assert parts is not None
    assert parts[1] == "16"


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("ray_generate", EXAMPLES / "ray_generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ray_tasks_make_the_folder_of_one_process(example, tmp_path, monkeypatch, capsys):
    from defect_synth import DefectSynthesizer
    from defect_synth.export.generated_folder import generate

    asked = {}
    fake = types.ModuleType("ray")
    fake.init = lambda address: asked.setdefault("address", address)

    def remote(**options):
        asked["options"] = options
        return lambda function: types.SimpleNamespace(remote=lambda *values: (function, values))

    fake.remote = remote
    fake.wait = lambda waiting: (waiting[-1:], waiting[:-1])  # out of order
    fake.get = lambda done: [function(*values) for function, values in done]
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(DefectSynthesizer, "load", lambda run: Dots())
    generate(Dots(), tmp_path / "one", count=9)

    example.main(["run", str(tmp_path / "many"), "--count", "9", "--parts", "4"])

    assert tree(tmp_path / "many") == tree(tmp_path / "one")
    assert asked == {"address": None, "options": {"num_cpus": 2, "max_retries": 3}}
    assert capsys.readouterr().out.count("is done") == 4


def test_without_ray_one_line_says_what_to_install(example, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match="this example needs Ray: pip install ray"):
        example.main(["run", "out"])
