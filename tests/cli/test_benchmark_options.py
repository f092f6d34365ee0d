"""Every option of `defect-synth benchmark` is used, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import defect_synth.benchmark
from defect_synth.cli import app
from defect_synth.errors import ConfigError

PERLIN = ["--arms", "real,real + Perlin"]
USED = {
    # option: (arguments, where it is found, value there)
    "category": (["--category", "nut, bolt"], "request.categories", ("nut", "bolt")),
    "data": (["--data", "images"], "request.data", Path("images")),
    "output": (["-o", "out"], "request.output", Path("out")),
    "protocol": (["--protocol", "full"], "protocol.name", "full"),
    "arms": (["--arms", "real, real + Crop&Paste"], "protocol.arms", ("real", "real + Crop&Paste")),
    "partitions": (["--partitions", "P2,R7"], "protocol.partitions", ("P2", "R7")),
    "seeds": (["--seeds", "4"], "protocol.seeds", 4),
    "shots": (["--shots", "5"], "protocol.shots", 5),
    "ratios": (["--ratios", "0.5,2"], "protocol.ratios", (0.5, 2.0)),
    "train": (["--train"], "request.train", True),
    "run": (["--run", "runs/x-{partition}"], "request.run", Path("runs/x-{partition}")),
    "minutes": (["--minutes", "3"], "protocol.minutes", 3.0),
    "preset": (["--preset", "TINY"], "protocol.preset", "TINY"),
    "steps": (["--steps", "7"], "protocol.classifier.steps", 7),
    "count": (["--count", "9"], "protocol.per_defect", 9),
    "architecture": (["--architecture", "resnet18"], "protocol.classifier.architecture", "resnet18"),
    "weights": (["--weights", "w.pth"], "protocol.classifier.weights", Path("w.pth")),
    "inception": (["--inception", "i.pth"], "protocol.quality.inception", Path("i.pth")),
    "lpips_alexnet": (["--lpips-alexnet", "a.pth"], "protocol.quality.lpips_alexnet", Path("a.pth")),
    "lpips_lin": (["--lpips-lin", "l.pth"], "protocol.quality.lpips_linear", Path("l.pth")),
    "features": (["--features", "f.pth"], "protocol.probe.features", Path("f.pth")),
    "textures": (["--textures", "dtd", *PERLIN], "protocol.textures", Path("dtd")),
    "with_good": (["--with-good"], "protocol.with_good", True),
    "only_classify": (["--only-classify"], "protocol.segmentation", None),
    "resume": (["--resume"], "request.resume", True),
    "device": (["--device", "cuda:1"], "request.device", "cuda:1"),
}


class StoppedError(Exception):
    """Raised instead of measuring."""


@pytest.fixture
def measured(monkeypatch):
    """What the benchmark was asked for, by name."""
    asked = {}

    def run_benchmark(request, protocol, report):
        asked.update(request=request, protocol=protocol)
        raise StoppedError

    monkeypatch.setattr(defect_synth.benchmark, "run_benchmark", run_benchmark)
    return asked


def invoke(*arguments: str) -> BaseException | None:
    return CliRunner().invoke(app, ["benchmark", *arguments]).exception


def test_the_table_has_every_option():
    command = typer.main.get_command(app).commands["benchmark"]
    assert {parameter.name for parameter in command.params} - {"help"} == {*USED, "report_only"}


@pytest.mark.parametrize("option", USED)
def test_an_option_reaches_what_it_is_for(measured, option):
    arguments, where, expected = USED[option]
    assert isinstance(invoke(*arguments), StoppedError)
    first, *fields = where.split(".")
    value = measured[first]
    for field in fields:
        value = getattr(value, field)
    assert value == expected


def test_minutes_also_limit_painters_and_features_also_serve_table_1(measured):
    invoke("--minutes", "3", "--features", "f.pth")
    assert measured["protocol"].painter_config().minutes == 3
    assert measured["protocol"].quality.features == Path("f.pth")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--report-only", "--seeds", "2"], "--report-only measures nothing, so it cannot use --seeds;"),
        (["--report-only", "--resume", "--data", "x"], "so it cannot use --data, --resume;"),
        (
            ["--only-classify", "--inception", "i.pth"],
            "--only-classify leaves out Table 1, so it cannot use --inception;",
        ),
        (["--textures", "dtd"], "textures: 'real + Perlin' is not among the arms of this benchmark"),
        (["--arms", "real,painting"], "unknown arm 'painting'; known: real, "),
        (["--protocol", "slow"], "no protocol 'slow'"),
        (["--preset", "HUGE"], "unknown preset 'HUGE'"),
        (["--shots", "some"], "shots"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(measured, arguments, message):
    error = invoke(*arguments)
    assert isinstance(error, ConfigError)
    assert message in str(error)


def test_training_here_and_a_given_run_exclude_each_other():
    error = invoke("--train", "--run", "runs/x")
    assert isinstance(error, ConfigError)
    assert "--train and --run exclude each other" in str(error)
