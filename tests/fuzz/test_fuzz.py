"""Damaged files of every kind: the right result or one line and exit code 2, within bounds, and nothing elsewhere.

One of each kind runs in the default suite. The campaign is `pytest -m slow tests/fuzz --fuzz-count 300`; `-k csv` is
one kind, and `--fuzz-seed 17 --fuzz-count 1` is a case of a report once more. What fails is kept in pytest's temporary
folder.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from pathlib import Path
from random import Random

import pytest

from tests.forked import GIBIBYTE, Ended, import_everything, run_forked
from tests.fuzz.kinds import KINDS
from tests.fuzz.mutations import BESIDE

PROCESSOR_SECONDS = 10
CLOCK_SECONDS = 40  # the machine may be busy
SMOKE = 1
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


@pytest.fixture(scope="module", autouse=True)
def _all_is_imported():
    import_everything()


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Valid files of each kind, made once."""
    made: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(f"valid-{kind}")
            KINDS[kind].make(made[kind])
        return made[kind]

    return of


def fault_of(ended: Ended) -> str:
    """What is wrong with the end of a command; empty if nothing is."""
    if ended.signal:
        return f"ended by {ended.signal} after {ended.seconds:.0f} s"
    if "Traceback" in ended.err or ended.code not in (0, 2):
        return f"exit code {ended.code}: {ended.err[-400:]}"
    for stream in (ended.out, ended.err):
        if found := CONTROL.search(stream):
            return f"control character {found.group()!r} in {stream[-200:]!r}"
    if ended.code == 2 and not ended.out:
        lines = ended.err.splitlines()
        told = [number for number, line in enumerate(lines) if line.startswith(("error: ", "Error: "))]
        if not told:
            return f"exit code 2 without a word: {ended.err[-400:]}"
        if lines[told[0]].startswith("error: ") and told != [len(lines) - 1]:
            return f"more than one line: {ended.err[-400:]}"
    return ""


def everything_below(root: Path, but: Path) -> dict[str, tuple[int, int, bytes]]:
    """Kind, time and content of all files and folders below `root`, except `but` and what is in it."""
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) != but]
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            found[str(path)] = (stat.S_IFMT(status.st_mode), len(content), content)
    return found


def try_case(kind: str, seed: int, valid: Path, folder: Path) -> str:
    """Damage a copy of valid files with a seed and read it; what is wrong, or nothing."""
    rng = Random(f"{kind} {seed}")
    work = folder / "case" / "work"
    shutil.copytree(valid, work, symlinks=True)
    done = KINDS[kind].damage(rng, work)
    (work / "out").mkdir(exist_ok=True) if not (work / "out").is_symlink() else None
    before = everything_below(folder, work / "out")
    for call in KINDS[kind].read(rng):
        ended = run_forked(call, work, memory=GIBIBYTE, processor_seconds=PROCESSOR_SECONDS, seconds=CLOCK_SECONDS)
        fault = fault_of(ended)
        after = everything_below(folder, work / "out")
        if not fault and (after != before or BESIDE.exists()):
            changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            fault = f"written outside the output: {changed or BESIDE}"
        if fault:
            return f"{kind} --fuzz-seed {seed} ({done[:150]}; {(call.__doc__ or '')[:150]}): {fault[-400:]}"
    shutil.rmtree(folder / "case")
    return ""


def faults(kind: str, seeds: range, valid: Path, tmp_path: Path) -> list[str]:
    found = []
    for seed in seeds:
        if fault := try_case(kind, seed, valid, tmp_path / str(seed)):
            found.append(fault)
        else:
            shutil.rmtree(tmp_path / str(seed))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_some_damaged_files_end_in_one_line(kind, valid, tmp_path):
    assert faults(kind, range(SMOKE), valid(kind), tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_file_ends_in_one_line(kind, valid, tmp_path, pytestconfig):
    first, count = pytestconfig.getoption("--fuzz-seed"), pytestconfig.getoption("--fuzz-count")
    found = faults(kind, range(first, first + count), valid(kind), tmp_path)
    assert not found, f"{len(found)} of {count}:\n" + "\n".join(found)
