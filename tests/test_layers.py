"""Imports point to the left only; the order is the picture in docs/architecture.md."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "defect_synth"
ORDER = """
    errors samples config atomic
    nn data
    product export engine metrics
    dfmgan
    painter compositor baselines demo
    open
    augment datasets
    benchmark
    cli __main__
"""
RANK = {name: rank for rank, line in enumerate(ORDER.strip().splitlines()) for name in line.split()}
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {
    ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): file for file in FILES
}
FACADE = "defect_synth"  # public names, loaded lazily: points everywhere, and holds only a version of its own
ONLY_IMPORTERS = {"albumentations": {"albumentations.py", "standard_augmentation.py"}, "anomalib": {"anomalib.py"}}


@cache
def imported(file):
    """Full dotted names a file imports anywhere, in functions too; `from package import module` gives the module."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            names.update(name if name in MODULES else node.module for name in full)
    return names


def arrows(module):
    return {name for name in imported(MODULES[module]) if name in MODULES and name != FACADE}


@pytest.mark.parametrize("module", [m for m in MODULES if m != FACADE])
def test_no_import_points_to_the_right(module):
    room = module.split(".")[1]
    assert room in RANK, f"{room} has no place in the order"
    wrong = [name for name in arrows(module) if RANK[name.split(".")[1]] > RANK[room]]
    assert not wrong, f"{module} imports {wrong}"


def test_no_modules_import_each_other_in_a_ring():
    TopologicalSorter({m: arrows(m) - {m} for m in MODULES if m != FACADE}).prepare()  # CycleError names the ring


@pytest.mark.parametrize("library", ONLY_IMPORTERS)
def test_a_host_library_is_imported_by_its_own_files_only(library):
    importers = {f.name for f in FILES if any(name.split(".")[0] == library for name in imported(f))}
    assert importers <= ONLY_IMPORTERS[library]
