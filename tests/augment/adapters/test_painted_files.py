"""Where painted images go if no folder is given, what is said if they cannot, and which are painted again."""

from __future__ import annotations

import os
import stat
import tempfile

import numpy as np
import pytest

from defect_synth.augment import AugmentedImage, DefectAugmenter
from defect_synth.augment.adapters.painted_files import PaintedFiles
from defect_synth.data.png import write_png
from defect_synth.errors import OutputError
from tests.fake_painter import FakePainter
from tests.fake_sources import tree


@pytest.fixture
def normal(tmp_path):
    path = tmp_path / "normal.png"
    write_png(path, np.full((64, 64, 3), 120, np.uint8))
    return str(path)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """A temporary directory that all may write, and caches that are out of reach."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    return folder


def files(folder=None):
    return PaintedFiles(DefectAugmenter(FakePainter()), folder, 0, [])


def test_the_default_folder_is_the_users_own(normal, temporary):
    image, mask = files().write([normal], 1)[0]
    (own,) = temporary.iterdir()
    assert own.name == f"defect-synth-{os.getuid()}"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert image.is_relative_to(own)
    assert mask.is_relative_to(own)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_somebody_else_made_is_not_used(normal, temporary, tmp_path, monkeypatch):
    theirs = temporary / f"defect-synth-{os.getuid()}"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(OutputError, match=r"no folder of your own for painted images .*; give one with folder="):
        files().write([normal], 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    image, _ = files().write([normal], 1)[0]
    assert image.is_relative_to(tmp_path / "cache" / "defect-synth")
    assert list(theirs.iterdir()) == []


def test_a_folder_that_all_may_write_or_a_link_is_not_used(normal, temporary, tmp_path):
    own = temporary / f"defect-synth-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    with pytest.raises(OutputError, match="give one with folder="):
        files().write([normal], 1)
    own.rmdir()
    own.symlink_to(tmp_path)
    with pytest.raises(OutputError, match="give one with folder="):
        files().write([normal], 1)


def test_a_folder_that_cannot_be_written_is_named_with_its_argument(normal, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="a file stands where a folder is needed; choose another folder "):
        files(tmp_path / "file").write([normal], 1)


class Brush:
    """Blackens a corner, and counts."""

    digest = "brush"

    def __init__(self):
        self.strokes = 0

    def __call__(self, image, rng):
        self.strokes += 1
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[:3, : rng.integers(2, 8)] = 1
        return AugmentedImage(np.where(mask[..., None] > 0, 0, image).astype(np.uint8), mask, "corner")


@pytest.mark.parametrize("place", ["defect", "ground_truth"])
@pytest.mark.parametrize("damage", ["removed", "empty", "truncated", "of another size"])
def test_a_missing_or_damaged_file_is_painted_again(place, damage, normal, tmp_path):
    brush = Brush()
    painted = PaintedFiles(brush, tmp_path / "out", 0, ["settings"])
    pairs = painted.write([normal], 3)
    before = tree(tmp_path / "out")
    path = pairs[1][place == "ground_truth"]
    data = path.read_bytes()
    path.unlink()
    if damage == "of another size":
        write_png(path, np.zeros((4, 4, 3), np.uint8))
    elif damage != "removed":
        path.write_bytes(data[: 0 if damage == "empty" else -5])
    assert painted.write([normal], 3) == pairs
    assert tree(tmp_path / "out") == before
    assert brush.strokes == 4
