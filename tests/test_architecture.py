"""docs/architecture.md is true: its rooms, its layers and its walks are those of the tree."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.test_layers import ORDER

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "defect_synth"
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
MOST_STOPS = 8
MOST_LINES = 400
LONGEST_FUNCTION = 80
LOOSE = {
    "__init__.py", "__main__.py", "atomic.py", "config.py", "errors.py", "files.py", "names.py", "open.py",
    "samples.py",
}  # fmt: skip
WALKS = re.findall(r"^\*\*(`[^\n]*)\*\*[^\n]*\n\n((?:\d\..*\n)+)", PAGE, flags=re.MULTILINE)


def test_every_room_is_in_the_table_and_nothing_else_is_loose():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    described = set(re.findall(r"^\| `(\w+)/` \|", PAGE, flags=re.MULTILINE))
    assert rooms == described
    assert {path.name for path in PACKAGE.glob("*.py")} == LOOSE


def test_the_layers_of_the_page_are_the_layers_that_are_tested():
    written = re.search(r"`errors names files samples atomic config`.*?`cli`", PAGE, flags=re.DOTALL)
    assert written is not None
    layers = [" ".join(layer.split()) for layer in written.group(0).replace("`", "").split("<-")]
    tested = [" ".join(line.split()) for line in ORDER.strip().splitlines()]
    assert [set(layer.split()) for layer in layers] == [set(line.split()) - {"__main__"} for line in tested]


@pytest.mark.parametrize(("name", "text"), WALKS)
def test_a_walk_has_few_stops_that_exist_and_no_return(name, text):
    stops = re.findall(r"^\d\. `([\w/.]+)`", text, flags=re.MULTILINE)
    assert len(stops) == text.count("\n"), f"a stop of {name} names no file first"
    assert 1 < len(stops) <= MOST_STOPS
    assert len(set(stops)) == len(stops)
    assert all((PACKAGE / stop).is_file() for stop in stops)


def test_there_are_four_walks():
    assert len(WALKS) == 4


def test_paths_on_the_page_exist():
    named = set(re.findall(r"`((?:\w+/)+\w*\.?\w*)`", PAGE))
    assert named
    missing = [path for path in named if not (PACKAGE / path).exists() and not (ROOT / path).exists()]
    assert [path for path in missing if path not in ("tasks/", "report/", "adapters/", "official/")] == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_fit_a_reader(path):
    text = path.read_text("utf-8")
    assert text.count("\n") <= MOST_LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not [node.name for node in functions if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION]


def test_no_two_classes_have_the_same_name():
    names: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: where for name, where in names.items() if len(where) > 1} == {}
