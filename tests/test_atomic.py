from __future__ import annotations

import errno
from pathlib import Path

import pytest

from defect_synth.atomic import output_errors, replacing, replacing_folder, require_free_folder
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
