from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from defect_synth.atomic import (
    output_errors,
    replacing,
    replacing_folder,
    require_free_folder,
    writing_alone,
    writing_together,
)
from defect_synth.errors import DataError, OutputError


def write_and_fail(path, error):
    path.write_text("new")
    raise error


def test_a_file_is_replaced_only_when_the_block_ends(tmp_path):
    path = tmp_path / "new" / "a.json"
    with replacing(path) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_failed_block_keeps_the_old_file_and_removes_the_new_one(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        write_and_fail(temporary, KeyboardInterrupt())
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "bank"
    path.mkdir()  # an empty folder may be replaced
    with replacing_folder(path) as temporary:
        (temporary / "a").write_text("1")
        assert list(path.iterdir()) == []
    assert (path / "a").read_text() == "1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bank"]


def test_a_failed_folder_is_removed_and_the_error_is_passed_on(tmp_path):
    with pytest.raises(FileNotFoundError, match="of the source"), replacing_folder(tmp_path / "bank") as temporary:
        write_and_fail(temporary / "a", FileNotFoundError("of the source"))
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_folder_is_refused_and_untouched(tmp_path):
    (tmp_path / "a").write_text("mine")
    for path in (tmp_path, tmp_path / "a"):
        with pytest.raises(OutputError, match="already holds something; choose another --output or remove it"):
            require_free_folder(path)
        with pytest.raises(OutputError, match="already holds something"), replacing_folder(path):
            pass
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk of out"),
        (RuntimeError("No space left on device (os error 28)"), "no space left on the disk of out"),
        (RuntimeError("Error while serializing: I/O error: File too large (os error 27)"), "out: File too large"),
        (PermissionError(errno.EACCES, "Permission denied"), "no permission to write out"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "a file stands where a folder is needed"),
        (OSError(errno.EIO, "Input/output error"), "cannot write out: Input/output error"),
    ],
)
def test_system_errors_become_one_line(error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=text), output_errors(Path("out")):
        raise error


def test_other_errors_are_passed_on(tmp_path):
    for error in (ValueError("a bug"), DataError("No space left in the table")):
        with pytest.raises(type(error), match=str(error)), output_errors(tmp_path):
            raise error


HOLD = """
import sys, time
from pathlib import Path
from defect_synth import atomic
path = Path(sys.argv[2])
with getattr(atomic, sys.argv[1])(path, *([lambda alone: None] if sys.argv[1] == "writing_together" else [])) as inner:
    ((inner or path) / "of the killed").write_text("1")
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """Starts a process that enters a block and stays there until it is killed."""
    started = []

    def start(block, path):
        process = subprocess.Popen([sys.executable, "-c", HOLD, block, str(path)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "in\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_folder_that_another_process_writes_is_refused_until_that_one_is_killed(tmp_path, holder):
    path = tmp_path / "out"
    process = holder("replacing_folder", path)
    with pytest.raises(OutputError, match=r"another process is writing .*out; wait until it ends, or choose another"):
        replacing_folder(path).__enter__()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(tmp_path.iterdir())) == 2  # its lock and its unfinished folder
    with replacing_folder(path) as temporary:
        (temporary / "mine").write_text("1")
    assert [str(file.relative_to(tmp_path)) for file in sorted(tmp_path.rglob("*"))] == ["out", "out/mine"]


def test_unfinished_folders_of_other_outputs_are_left_alone(tmp_path):
    names = [".a.b.0123456789ab.part", ".b.0123456789ab.part", ".a.part", "a.7.part"]
    for name in [*names, ".a.0123456789ab.part", ".a.1.part"]:
        (tmp_path / name).mkdir()
    with replacing_folder(tmp_path / "a"):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([*names, "a"])


def test_the_working_directory_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with replacing_folder(Path(".")) as temporary:
        (temporary / "a").write_text("1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_one_process_writes_alone_and_removes_what_a_killed_one_left(tmp_path, holder, monkeypatch):
    path = tmp_path / "run"
    process = holder("writing_alone", path)
    monkeypatch.setattr("defect_synth.atomic._PATIENCE", 0.1)
    for block in (writing_alone(path), writing_together(path, lambda alone: None)):
        with pytest.raises(OutputError, match="another process is writing"):
            block.__enter__()
    process.send_signal(signal.SIGKILL)
    process.wait()
    (path / "deep").mkdir()
    for name in (".a.0123456789ab.part.png", "deep/.a.0123456789ab.part", ".part-1-of-2.jsonl", "a.part"):
        (path / name).write_text("half")
    with writing_alone(path):
        assert (path / ".lock").exists()
    left = sorted(str(file.relative_to(path)) for file in path.rglob("*"))
    assert left == [".part-1-of-2.jsonl", "a.part", "deep", "of the killed"]


def test_several_processes_write_together_and_the_first_one_prepares(tmp_path, holder):
    path, calls = tmp_path / "shared", []
    with writing_together(path, calls.append):
        assert calls == [True, False]
        process = holder("writing_together", path)
        with pytest.raises(OutputError, match="another process is writing"), writing_alone(path):
            pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    with writing_alone(path):
        pass
    assert [entry.name for entry in path.iterdir()] == ["of the killed"]


def test_the_lock_has_one_owner_at_a_time_while_its_file_comes_and_goes(tmp_path):
    inside, most, entered = [], [], []

    def work():
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            try:
                with writing_alone(tmp_path):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.pop()
                    entered.append(1)
            except OutputError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(entered) > 10
    assert not any(tmp_path.iterdir())


def test_a_file_system_without_locks_is_said_and_written(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / ".a.0123456789ab.part").write_text("perhaps somebody else's")
    with writing_alone(tmp_path):
        pass
    assert "no locks on this file system; make sure that one process writes it" in caplog.text
    assert (tmp_path / ".a.0123456789ab.part").exists()
