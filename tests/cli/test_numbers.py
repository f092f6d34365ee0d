"""Every option of every command that takes a number, a device or another word: what is none is one line."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from PIL import Image

from defect_synth.cli import app, main
from tests.fake_data import write_mvtec


def options(callback: Callable[..., object]) -> dict[str, tuple[object, typer.models.OptionInfo]]:
    """Name of each option of a command -> its type and its description."""
    found = {}
    for name, hint in typing.get_type_hints(callback, include_extras=True).items():
        if typing.get_origin(hint) is typing.Annotated:
            kind, *more = typing.get_args(hint)
            for option in more:
                if isinstance(option, typer.models.OptionInfo):
                    # In `Annotated`, typer takes the first name for a default until it sees the signature.
                    names = (option.default, *(option.param_decls or ()))
                    declared = [text for text in names if isinstance(text, str) and text.startswith("--")]
                    found[declared[0] if declared else f"--{name.replace('_', '-')}"] = kind, option
    return found


COMMANDS = {str(command.name): options(command.callback) for command in app.registered_commands if command.callback}
NUMBERS = {
    (command, name): option
    for command, found in COMMANDS.items()
    for name, (kind, option) in found.items()
    if {int, float} & {kind, *typing.get_args(kind)}
}
BASE = {
    # Arguments with which the command would run.
    "train": ("{w}/data", "-o", "{o}/run"),
    "generate": ("demo-bank", "-o", "{o}/made"),
    "bank": ("demo-bank", "-o", "{o}/bank"),
    "quality": ("demo-bank", "--data", "{w}/data", "-o", "{o}/q.json"),
    "benchmark": ("-o", "{o}/b", "--data", "{w}/data", "--category", "nut"),
    "demo-data": ("{o}/demo",),
    "paint": ("{w}/image.png", "-o", "{o}/painted.png"),
    "preview": ("{w}/image.png", "-o", "{o}/preview"),
    "info": (),
}
WORDS = {
    "--device": ("meta", "nonsense", "cuda:-1", "cuda:99999999999999999999", "cpu:9"),
    "--precision": ("float8",),
    "--protocol": ("nonsense",),
    "--preset": ("nonsense",),
    "--partition": ("nonsense", "P0", ""),
    "--method": ("nonsense", ""),
    "--format": ("nonsense", ""),
    "--layout": ("nonsense", ""),
    "--shard": ("0/4", "5/4", "-1/4", "1/0", "1/1000000000000000000000", "nan/2", ""),
    "--at": ("nan,3", "3", "inf,inf", "-1,5", "1e400,2", "3,4,5"),
    "--ratios": ("nan", "inf", "-1", "0", "1e30", "x"),
    "--shots": ("nan", "0", "-1", "9" * 5000, "1.5"),
    "--set": ("nonsense", "seed=1e400", "seed=" + "9" * 5000, "seed=nan", "seed=-1", "=", "seed=" + "[" * 100_000),
}
TEXTS = [
    (command, name, value) for command, found in COMMANDS.items() for name in found for value in WORDS.get(name, ())
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_mvtec(root / "data", category="nut", defects={"hole": 3, "cut": 3}, good=6, size=32)
    Image.new("RGB", (32, 32), (190, 140, 90)).save(root / "image.png")
    return root


def refusal(
    arguments: tuple[str, ...],
    world: Path,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> str:
    """The one line with which a command is refused before it has written anything."""
    monkeypatch.setattr(
        sys, "argv", ["defect-synth", *(a.replace("{w}", str(world)).replace("{o}", str(out)) for a in arguments)]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    told = capfd.readouterr()
    assert stopped.value.code == 2, told
    line = told.err.strip()
    assert line.startswith("error: ")
    assert "\n" not in line
    assert told.out == ""
    assert len(line) < 2200
    assert list(out.iterdir()) == []
    return line


def test_every_number_has_a_range() -> None:
    assert len(NUMBERS) > 20
    for (command, name), option in NUMBERS.items():
        assert option.min is not None, f"{command} {name} has no least value"
        assert option.max is not None, f"{command} {name} has no greatest value"


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", str(10**30), "1e400", "x", "", "9" * 5000])
@pytest.mark.parametrize(("command", "name"), NUMBERS)
def test_a_number_that_is_none_is_refused_by_name(
    command: str, name: str, value: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    line = refusal((command, *BASE[command], f"{name}={value}"), world, tmp_path, monkeypatch, capfd)
    assert name in line


METHOD = {"--precision": "dfmgan", "--protocol": "dfmgan", "--device": "dfmgan"}


@pytest.mark.parametrize(("command", "name", "value"), TEXTS, ids=lambda text: str(text)[:20])
def test_a_word_that_is_none_is_refused(
    command: str, name: str, value: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base = {**BASE, "check": ("{w}/data",), "export": ("demo-bank", "-o", "{o}/e")}[command]
    if command == "train" and name in METHOD:
        base = (*base, "--method", METHOD[name], "--preset", "TINY")
    refusal((command, *base, f"{name}={value}"), world, tmp_path, monkeypatch, capfd)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("generate",), "(?i)missing argument 'run'; see `.* generate --help`"),
        (("generate", "demo-bank"), "Missing option '--output'"),
        (("generate", "demo-bank", "-o", "{o}/g", "--sed", "3"), "No such option: --sed"),
        (("generate", "demo-bank", "-o", "{o}/g", "more"), "unexpected extra argument"),
        (("nonsense",), "No such command 'nonsense'"),
        (
            ("generate", "demo-bank", "-o", "{o}/g", "--count", "0"),
            "--count must be between 1 and 1000000, got 0;",
        ),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line(
    arguments: tuple[str, ...], words: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import re

    assert re.search(words, refusal(arguments, world, tmp_path, monkeypatch, capfd))
