"""The harness of the campaigns sees what it is there for; otherwise their silence would mean nothing."""

from __future__ import annotations

import os
import sys
import time

import pytest

from tests.forked import Ended, command, fork, run_forked
from tests.fuzz.test_fuzz import everything_below, fault_of


def spin():
    while True:
        pass


def test_a_child_ends_as_a_program_would(tmp_path):
    assert (run_forked(lambda: print("well"), tmp_path).code, run_forked(lambda: sys.exit(3), tmp_path).code) == (0, 3)
    ended = run_forked(lambda: 1 / 0, tmp_path)
    assert ended.code == 1
    assert ended.err.endswith("ZeroDivisionError: division by zero\n")
    ended = run_forked(command("--version"), tmp_path)
    assert (ended.code, ended.out, ended.err) == (0, "0.1.0\n", "")


def test_its_working_directory_is_its_own(tmp_path):
    before = os.getcwd()
    assert run_forked(lambda: print(os.getcwd()), tmp_path).out == f"{tmp_path}\n"
    assert os.getcwd() == before


@pytest.mark.parametrize(
    ("limits", "signal"),
    [
        ({"seconds": 0.2}, "SIGALRM"),
        ({"processor_seconds": 1}, "SIGXCPU"),
        ({"kill_after": 0.1}, "SIGKILL"),
    ],
)
def test_a_child_without_end_is_ended(limits, signal, tmp_path):
    assert run_forked(spin, tmp_path, **limits).signal == signal


def test_memory_is_bounded(tmp_path):
    pytest.importorskip("resource")
    if not sys.platform.startswith("linux"):
        pytest.skip("the address space is bounded on Linux only")
    assert run_forked(lambda: bytearray(1 << 27), tmp_path, memory=1 << 28).code == 0
    assert "MemoryError" in run_forked(lambda: bytearray(1 << 29), tmp_path, memory=1 << 28).err


def test_files_are_bounded(tmp_path):
    ended = run_forked(lambda: (tmp_path / "x").write_bytes(bytes(2000)), tmp_path, file_size=1000)
    assert "File too large" in ended.err


def test_two_children_run_at_once(tmp_path):
    started = time.monotonic()
    both = [fork(lambda: time.sleep(0.5), tmp_path) for _ in range(2)]
    assert [one.wait().code for one in both] == [0, 0]
    assert time.monotonic() - started < 0.95


LINE = "error: x.csv is not UTF-8 text\n"


@pytest.mark.parametrize(
    ("ended", "fault"),
    [
        (Ended(0, "", "3 samples\n", "", 1.0), ""),
        (Ended(2, "", "", f"generate: 2 of 2\n{LINE}", 1.0), ""),
        (Ended(2, "", "a report of `check`\n", "", 1.0), ""),
        (Ended(None, "SIGSEGV", "", "", 1.0), "ended by SIGSEGV after 1 s"),
        (Ended(1, "", "", "Traceback ...", 1.0), "exit code 1: Traceback ..."),
        (Ended(2, "", "", "", 1.0), "exit code 2 without a word: "),
        (Ended(2, "", "", f"{LINE}and more\n", 1.0), f"more than one line: {LINE}and more\n"),
        (Ended(0, "", "\x1b[31m", "", 1.0), "control character '\\x1b' in '\\x1b[31m'"),
    ],
)
def test_faults_are_told_from_good_ends(ended, fault):
    assert fault_of(ended) == fault


def test_what_is_written_elsewhere_is_seen(tmp_path):
    (tmp_path / "work" / "out").mkdir(parents=True)
    before = everything_below(tmp_path, tmp_path / "work" / "out")
    (tmp_path / "work" / "out" / "x").write_text("allowed")
    assert everything_below(tmp_path, tmp_path / "work" / "out") == before
    (tmp_path / "work" / "beside").mkdir()
    assert everything_below(tmp_path, tmp_path / "work" / "out") != before
