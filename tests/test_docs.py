"""What README and docs/ show is true: Python runs, command lines are understood, links lead somewhere.

Snippets of one page run in order and share their names. They run in a folder that has what the pages speak of: `data/`
with two categories in MVTec AD's layout, `runs/bottle` (a painter), `runs/bottle-bank` (a bank of real
defects), and the names in `given`.
"""

from __future__ import annotations

import importlib
import re
import runpy
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import defect_synth
from defect_synth.cli import app
from defect_synth.demo.hazelnut import object_mask, render
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.nn.torchvision_import import ensure_torchvision
from tests.fake_data import write_mvtec

ensure_torchvision()
pytestmark = pytest.mark.filterwarnings("ignore")  # anomalib's and lightning's own

ROOT = Path(__file__).parents[1]
PAGES = [path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")])]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.py"))
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SEED = 8_000_000
UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # typer may have a click of its own


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fences(page: Path) -> Iterator[tuple[str, str, int]]:
    """(language, code, line) of each block of code."""
    text = page.read_text("utf-8")
    for fence in FENCE.finditer(text):
        yield fence[2].strip(), textwrap.dedent(fence[3]), text[: fence.start(3)].count("\n") + 1


def run_command(*arguments: str | Path) -> None:
    typer.main.get_command(app).main([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that snippets run in."""
    folder = tmp_path_factory.mktemp("docs")
    defects = {"broken_large": 3, "broken_small": 3, "contamination": 3}
    bottle = write_mvtec(folder / "data", "bottle", defects, good=12, size=64)
    write_demo(folder / "data", resolution=64, good=12, test_good=2, per_defect=2)
    (folder / "my.png").write_bytes((bottle / "train" / "good" / "000.png").read_bytes())
    run_command("train", bottle, "--method", "painter", "--preset", "PAINT_TINY", "-o", folder / "runs" / "bottle")
    run_command("bank", bottle, "--real", "-o", folder / "runs" / "bottle-bank")
    (folder / "dtd").mkdir()  # keeps anomalib's Draem from downloading textures
    return folder


def given() -> dict[str, Any]:
    """Names that snippets may use without defining them: a normal image, where the product is in it, and masks."""
    normal = render(SEED, 64).image
    foreground = object_mask(SEED, 64).astype(bool)
    mask = np.zeros((64, 64), np.uint8)
    mask[28:36, 30:34] = 1
    return {"Path": Path, "np": np, "image": normal, "normal": normal, "foreground": foreground, "mask": mask,
            "empty_mask": np.zeros_like(mask), "__name__": "docs"}  # fmt: skip


def python_of(page: Path) -> list[tuple[str, int]]:
    return [(code, line) for language, code, line in fences(page) if language == "python" and "--8<--" not in code]


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page)], ids=name)
def test_python_of_the_page_runs(page: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    namespace = given()
    for code, line in python_of(page):
        exec(compile("\n" * line + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(
    script: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "argv", [script.name])
    runpy.run_path(str(script), run_name="__main__")
    assert capsys.readouterr().out
    page = script.with_name(script.stem.replace("_", "-") + ".md").read_text("utf-8")
    assert f'--8<-- "{name(script)}"' in page  # it is shown on its page


def test_first_steps_work_on_an_image_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(render(SEED, 96).image).save("my.png")
    monkeypatch.setattr(sys, "argv", ["first_steps.py", "my.png"])
    runpy.run_path(str(ROOT / "docs" / "tutorials" / "first_steps.py"), run_name="__main__")
    before, after, mask = (np.asarray(Image.open(file)) for file in ("my.png", "painted.png", "painted_mask.png"))
    np.testing.assert_array_equal(before[mask == 0], after[mask == 0])
    assert (before != after).any()


def command_lines(page: Path) -> Iterator[tuple[str, int]]:
    """Every `defect-synth ...` line of blocks that are not Python."""
    for language, code, start in fences(page):
        if language in ("", "bash", "sh", "console"):
            for offset, line in enumerate(code.replace("\\\n", "  ").splitlines()):
                for part in line.split("&&"):
                    match = re.match(r"\s*(?:\$ )?(?:\S*/)?(?:defect-synth|.*-m defect_synth) (.*)", part)
                    if match:
                        yield match[1], start + offset


@pytest.mark.parametrize("page", [page for page in PAGES if any(command_lines(page))], ids=name)
def test_command_lines_of_the_page_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, line in command_lines(page):
        arguments = shlex.split(text, comments=True)
        try:
            parse(arguments)
        except UsageError as error:
            pytest.fail(f"{name(page)}:{line}: defect-synth {text}\n{error}")


def parse(arguments: Sequence[str]) -> None:
    """Parse a command line completely, without executing it.

    Raises:
        UsageError: An unknown command or option, a value of the wrong type, or an argument is missing.
    """
    group: Any = typer.main.get_command(app)
    with typer.Context(group, info_name="defect-synth") as parent:
        if arguments and arguments[0].startswith("--"):
            group.make_context("defect-synth", list(arguments), resilient_parsing=True)
            return
        command_name, command, rest = group.resolve_command(parent, list(arguments))
        command.make_context(command_name, rest, parent=parent)


@pytest.mark.parametrize(
    "arguments", ["train DATA", "train DATA -o runs/x --no-such-option", "no-such-command", "paint"]
)
def test_a_command_line_that_is_wrong_is_noticed(arguments: str) -> None:
    with pytest.raises(UsageError):
        parse(shlex.split(arguments))


def anchors(page: Path) -> set[str]:
    """Headings as GitHub and mkdocs address them."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ +(.*?) *#*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_of_the_page_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name(page)}: {target}"
        assert file.is_relative_to(ROOT), f"{name(page)}: {target} is outside of the repository"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name(page)}: no heading for {target}"


def test_every_public_name_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    missing = [public for public in defect_synth.__all__ if public != "__version__"
               and not re.search(rf"^::: defect_synth\.(\w+\.)*{public}$", text, re.MULTILINE)]  # fmt: skip
    assert missing == []


def test_readme_is_short() -> None:
    words = re.findall(r"\w+", (ROOT / "README.md").read_text("utf-8"))
    assert len(words) <= 900


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_files_that_the_page_names_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"(?<![\w/.])(?:tests|docs|tools|examples|benchmarks|defect_synth)/[\w/.-]*\w", text)
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_modules_of_the_changelog_exist() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    places = re.findall(
        r"defect_synth(?:\.\w+)+", "".join(line.split("|")[2] for line in text.splitlines() if "|" in line)
    )
    assert len(places) > 15
    for place in places:
        module, _, name_in_it = place.rpartition(".")
        if not hasattr(importlib.import_module(module), name_in_it):  # not yet loaded: a module
            importlib.import_module(place)
