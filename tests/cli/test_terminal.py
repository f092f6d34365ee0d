"""What the command says is plain lines in any encoding; odd places and readers that leave early end it in one line."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from defect_synth.cli import main
from defect_synth.cli.terminal import log_to_terminal, say, say_error
from defect_synth.errors import DataError
from tests.fake_data import write_mvtec

CLI = Path(__file__).parents[2] / "defect_synth" / "cli"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_mvtec(root, category="nut", defects={"hole": 2}, good=3, size=24)
    return root / "nut"


def run(monkeypatch, capsys, *arguments):
    """Exit code, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["defect-synth", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr()
    return stopped.value.code, said.out, said.err


def refused(monkeypatch, capsys, *arguments):
    """The one line that the command ends with."""
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.strip().isprintable()
    return err.strip()


def test_only_one_file_prints():
    printing = [path.name for path in CLI.glob("*.py") if "print(" in path.read_text("utf-8")]
    assert printing == ["terminal.py"]


def test_lines_and_messages_are_escaped(capsys):
    say("a\x1b[2Jb\nc", Path("x\u202ey"), "")
    say_error(DataError("folder\r\n\x07"))
    say_error("x" * 6000)
    out, err = capsys.readouterr()
    assert out == "a\\x1b[2Jb\\nc\nx\\u202ey\n\n"
    first, second = err.splitlines()
    assert first == "error: folder\\r\\n\\x07"
    assert len(second) < 2100


def test_messages_of_the_library_are_escaped(monkeypatch):
    stream, root = io.StringIO(), logging.getLogger()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", logging.WARNING)
    log_to_terminal()
    logging.getLogger("defect_synth.x").warning("bad %s", "na\x1bme\n")
    assert stream.getvalue() == "bad na\\x1bme\\n\n"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_check_writes_names_that_the_encoding_lacks(data, encoding, tmp_path):
    folder = tmp_path / "傷"
    folder.symlink_to(data)
    (tmp_path / "傷" / "train" / "good" / "\x1b[31m.gif").write_bytes(b"")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "defect_synth", "check", str(folder)], capture_output=True, check=False,
            env=os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"},
        )  # fmt: skip
    finally:
        (data / "train" / "good" / "\x1b[31m.gif").unlink()
    said = done.stdout.decode(encoding)
    assert done.returncode == 0
    assert done.stderr == b""
    assert f"nut: mvtec layout in {tmp_path}/" + ("傷" if encoding == "utf-8" else "\\u50b7") in said
    assert "train/good/\\x1b[31m.gif: .gif files are not read" in said


def test_a_reader_that_leaves_early_is_no_error(data):
    command = f"{sys.executable} -m defect_synth check {data} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # 0 if the pipe was still there


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_said(data):
    command = f"{sys.executable} -m defect_synth check {data} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == "error: no space left on the disk; free some\n"
    assert done.returncode == 2


def test_files_that_are_none_are_refused_and_not_waited_for(data, tmp_path, monkeypatch, capsys):
    fifo, image = tmp_path / "x.csv", sorted(data.glob("train/good/*.png"))[0]
    os.mkfifo(fifo)
    for name in ("x.json", "x.png", "x.toml", "x.safetensors", "x.pkl"):
        os.mkfifo(tmp_path / name)
    painted = tmp_path / "painted.png"
    for arguments in (
        ("check", fifo),
        ("check", tmp_path / "x.json"),
        ("train", fifo, "-o", tmp_path / "run"),
        ("bank", fifo, "--real", "-o", tmp_path / "bank"),
        ("paint", image, "-o", painted, "--mask", tmp_path / "x.png"),
        ("paint", tmp_path / "x.png", "-o", painted),
        ("preview", tmp_path / "x.png", "-o", tmp_path / "page"),
        ("check", "/dev/zero"),
    ):
        line = refused(monkeypatch, capsys, *arguments)
        assert "is a FIFO, expected a file" in line or "is a device, expected a file" in line
    for arguments in (
        ("generate", tmp_path / "x.safetensors", "-o", tmp_path / "g"),
        ("info", tmp_path / "x.safetensors"),
        ("import", tmp_path / "x.pkl", "-o", tmp_path / "m.safetensors"),
        ("benchmark", "--protocol", tmp_path / "x.toml", "-o", tmp_path / "b"),
    ):
        refused(monkeypatch, capsys, *arguments)


def test_a_folder_called_as_a_table_is_no_table(data, tmp_path, monkeypatch, capsys):
    (tmp_path / "x.csv").mkdir()
    assert "x.csv has no known layout: found a folder with nothing" in refused(
        monkeypatch, capsys, "check", tmp_path / "x.csv"
    )
    assert "found a folder with x.csv/" in refused(monkeypatch, capsys, "check", tmp_path)
    (data / "y.csv").mkdir()
    (data / "y.json").mkdir()
    assert run(monkeypatch, capsys, "check", data)[0] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "{}"), ("generate", "{}", "-o", "g"), ("generate", "demo-bank", "-o", "{}", "--count", "1"),
        ("info", "{}"), ("bank", "{}", "--real", "-o", "b"), ("bank", "demo-bank", "-o", "{}", "--count", "1"),
        ("export", "demo-bank", "-o", "{}"), ("demo-data", "{}"), ("paint", "{}", "-o", "x.png"),
        ("preview", "{}", "-o", "page"), ("pack", "{}", "-o", "x.safetensors"), ("train", "{}", "-o", "run"),
        ("import", "{}", "-o", "x.safetensors"), ("quality", "{}", "--data", "x"),
        ("benchmark", "--report-only", "-o", "{}"), ("benchmark", "--protocol", "{}", "-o", "b"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_paths_of_5000_characters(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for path in ("x" * 5000, "y/" * 2500):
        line = refused(monkeypatch, capsys, *(argument.format(path) for argument in arguments))
        assert "too long" in line
        assert len(line) < 2200


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EROFS, "the disk is read-only"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EACCES, "no permission to write"),
        (errno.EIO, "Input/output error"),
        (errno.ENAMETOOLONG, "the path is too long"),
        (errno.ESTALE, "Stale file handle"),
    ],
)
def test_write_errors_are_one_line(number, text, tmp_path, monkeypatch, capsys):
    def fail(*_arguments, **_named):
        raise OSError(number, os.strerror(number), "somewhere")

    monkeypatch.setattr(Path, "write_bytes", fail)
    line = refused(monkeypatch, capsys, "export", "demo-bank", "--format", "labelme", "-o", tmp_path / "e")
    assert text in line
    assert not (tmp_path / "e").exists()


def test_an_unreadable_folder_is_named(data, monkeypatch, capsys):
    listed = Path.iterdir

    def iterdir(self):
        if self.name == "hole":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert refused(monkeypatch, capsys, "check", data).endswith("hole: no permission; change it or give another path")


def test_a_file_whose_name_is_no_unicode_is_named(tmp_path, monkeypatch, capsys):
    write_mvtec(tmp_path, category="nut", defects={"hole": 2}, good=3, size=24)
    good = tmp_path / "nut" / "train" / "good"
    os.rename(sorted(good.iterdir())[0], os.fsencode(good) + b"/caf\xe9.png")
    assert "caf\\udce9.png: its name is not Unicode; rename the file" in refused(
        monkeypatch, capsys, "check", tmp_path / "nut"
    )
