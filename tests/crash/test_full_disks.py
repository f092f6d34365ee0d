"""A full disk or a quota: one line, what was written is whole, and with room the command goes on to the same bytes."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.test_kills import COMMANDS, files_of, fresh, inputs, undisturbed  # noqa: F401 - fixtures
from tests.forked import command, run_forked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]


def out_of_space(call: Callable[[], object], output: Path, most: int) -> Callable[[], None]:
    """`call` on a disk on which, below `output` and beside it, only `most` more files can be opened for writing."""

    def run() -> None:
        places, left = (str(output), str(output.with_name(f".{output.name}"))), [most]
        open_before, os_open_before = builtins.open, os.open

        def refuse(path: object, writes: bool) -> None:
            if writes and isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(places):
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

        def opened(file, mode="r", *arguments, **options):
            refuse(file, any(letter in mode for letter in "wax+"))
            return open_before(file, mode, *arguments, **options)

        def os_opened(path, flags, *arguments, **options):
            refuse(path, bool(flags & (os.O_WRONLY | os.O_RDWR)))
            return os_open_before(path, flags, *arguments, **options)

        builtins.open, io.open, os.open = opened, opened, os_opened
        call()

    return run


def goes_on(name: str, work: Path, whole: dict[str, bytes]) -> str:
    """Run a command again, now with room; what is wrong, or nothing."""
    told = COMMANDS[name]
    ended = run_forked(command(*told.arguments, *told.again), work)
    if ended.code != 0:
        return f"not continued: {ended.code} {ended.err[-300:]}"
    found = files_of(work / "out")
    other = sorted(n for n in found.keys() | whole.keys() if found.get(n) != whole.get(n))
    return f"other bytes in {other[:5]}" if other else ""


def one_line(err: str) -> str:
    """The error of a command, which is its last line."""
    assert "Traceback" not in err, err[-2000:]
    last = err.splitlines()[-1]
    assert last.startswith("error: "), err[-2000:]
    return last


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_a_full_disk_is_one_line_and_the_command_goes_on(name, share, inputs, undisturbed, tmp_path):  # noqa: F811
    whole, work = undisturbed(name), fresh(inputs, tmp_path / "work")
    most = int(share * len(whole.files))

    ended = run_forked(out_of_space(command(*COMMANDS[name].arguments), work / "out", most), work)

    if ended.code != 0:  # some write their last files natively, past this disk
        assert ended.code == 2, ended.err[-2000:]
        assert "no space left on" in one_line(ended.err).lower()
    assert goes_on(name, work, whole.files) == "" or (ended.code == 0 and COMMANDS[name].refused)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_quota_is_one_line_and_the_command_goes_on(name, inputs, undisturbed, tmp_path):  # noqa: F811
    whole, work = undisturbed(name), fresh(inputs, tmp_path / "work")
    largest = max(len(data) for data in whole.files.values())

    ended = run_forked(command(*COMMANDS[name].arguments), work, file_size=largest * 2 // 3)

    assert ended.code == 2, (ended.signal, ended.err[-2000:])
    assert "cannot write" in one_line(ended.err)
    assert goes_on(name, work, whole.files) == ""


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "benchmark"])
def test_a_small_disk_is_one_line_and_the_command_goes_on(name, inputs, undisturbed, tmp_path):  # noqa: F811
    """A real one, where tests may mount: native writers meet it, too."""
    whole, work = undisturbed(name), fresh(inputs, tmp_path / "work")
    size = sum(len(data) for data in whole.files.values()) * 2 // 3
    (work / "out").mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 1 << 14)}", "tmpfs", str(work / "out")]
    if not sys.platform.startswith("linux") or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        arguments = tuple("out/x" if part == "out" else part for part in COMMANDS[name].arguments)
        ended = run_forked(command(*arguments), work)
        kept = tmp_path / "kept"
        if (work / "out" / "x").is_dir():
            shutil.copytree(work / "out" / "x", kept)
    finally:
        subprocess.run(["umount", str(work / "out")], check=True)
    assert ended.code == 2, (ended.signal, ended.err[-2000:])
    one_line(ended.err)
    (work / "out").rmdir()
    if kept.is_dir():
        kept.rename(work / "out")
    assert goes_on(name, work, whole.files) == ""
