"""Files of strangers are regular, bounded and, whatever is wrong with them, told of in one line."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from defect_synth.errors import DataError
from defect_synth.files import listed, open_file, parse_json, read_bytes, read_json, read_text, reason, require_file


def unusual(tmp_path):
    """Path -> what is said about it."""
    os.mkfifo(tmp_path / "fifo.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(tmp_path / "socket"))
    return {
        tmp_path / "fifo.csv": "is a FIFO, expected a file",
        tmp_path / "folder.csv": "is a folder, expected a file",
        tmp_path / "socket": "is a socket, expected a file",
        tmp_path / "loop": "its links lead in a circle; correct them",
        tmp_path / "file" / "below": "a file stands where a folder is needed",
        tmp_path / "none": "does not exist; correct the path",
        tmp_path / ("x" * 5000): "the path is too long; give a shorter one",
        tmp_path / "a\0b": "cannot be opened",
    }


def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, text in unusual(tmp_path).items():
        for read in (open_file, require_file, lambda p: read_bytes(p, 10), lambda p: read_text(p, 10), read_json):
            with pytest.raises(DataError) as refused:
                read(path)
            assert str(refused.value).startswith(f"{path}: ")
            assert text in str(refused.value)
    with pytest.raises(DataError, match="is a device, expected a file"):
        open_file("/dev/zero")


def test_an_unreadable_file_or_folder_is_named(tmp_path, monkeypatch):
    def refused(*_arguments, **_named):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path))

    with monkeypatch.context() as patched:  # root may read everything
        patched.setattr(os, "open", refused)
        with pytest.raises(DataError, match=r"a\.json: no permission; change it or give another path"):
            read_json(tmp_path / "a.json")
    monkeypatch.setattr(type(tmp_path), "iterdir", refused)
    with pytest.raises(DataError, match=f"^{tmp_path}: no permission"):
        listed(tmp_path)


def test_size_and_encoding_are_bounded(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfab")
    assert read_text(path, 5) == "ab"
    with pytest.raises(DataError, match="larger than"):
        read_text(path, 4)
    path.write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="not UTF-8 text; save it as UTF-8"):
        read_text(path, 10)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,\n "b"', "x.json: not JSON: line 2, column 5: Expecting ':' delimiter"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 10_000, "a number has thousands of digits"),
    ],
)
def test_json_that_is_none_is_called_so(text, expected):
    with pytest.raises(DataError) as refused:
        parse_json(text, "x.json")
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EROFS, "the disk is read-only; give another path"),
        (errno.EDQUOT, "the disk quota is used up; free some space"),
        (errno.ENOSPC, "no space left on the disk; free some"),
        (errno.EBUSY, "Device or resource busy"),
    ],
)
def test_what_the_system_says_becomes_words(number, text):
    assert reason(OSError(number, os.strerror(number))) == text
