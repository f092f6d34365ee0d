from pathlib import Path

import cv2
import numpy as np
import pytest

from defect_synth.data import png
from defect_synth.data.layouts import index
from defect_synth.demo.hazelnut import DEFECTS, render
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.errors import ConfigError, OutputError


def test_written_demo_has_the_mvtec_layout(tmp_path: Path):
    steps: list[tuple[int, int]] = []
    folder = write_demo(
        tmp_path / "new" / "place",
        resolution=32,
        good=3,
        test_good=2,
        per_defect=2,
        seed=1,
        progress=lambda done, total: steps.append((done, total)),
    )

    assert folder == tmp_path / "new" / "place" / "hazelnut"
    assert [entry.name for entry in folder.parent.iterdir()] == ["hazelnut"]  # no temporary folder is left
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {f"train/good/{k:03d}.png" for k in range(3)} | {f"test/good/{k:03d}.png" for k in range(2)}
    for defect in DEFECTS:
        expected |= {f"test/{defect}/{k:03d}.png" for k in range(2)}
        expected |= {f"ground_truth/{defect}/{k:03d}_mask.png" for k in range(2)}
    assert found == expected | {"PROCEDURAL.txt"}
    assert steps == [(k, 13) for k in range(1, 14)]

    text = (folder / "PROCEDURAL.txt").read_text(encoding="utf-8")
    assert "NOT MVTec AD" in text
    assert "defect-synth" in text

    table = index(folder)
    assert table.category == "hazelnut"
    assert table.defects == DEFECTS


def test_written_files_are_the_renders_that_the_notice_names(tmp_path: Path):
    folder = write_demo(tmp_path, resolution=32, good=2, test_good=1, per_defect=2, seed=3)

    def read(name: str) -> np.ndarray:
        return cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)

    assert np.array_equal(read("train/good/001.png")[..., ::-1], render(30_000_001, 32).image)
    assert np.array_equal(read("test/good/000.png")[..., ::-1], render(31_000_000, 32).image)
    for block, defect in enumerate(DEFECTS, start=2):
        sample = render(30_000_000 + block * 1_000_000 + 1, 32, defect)
        assert np.array_equal(read(f"test/{defect}/001.png")[..., ::-1], sample.image)
        assert np.array_equal(read(f"ground_truth/{defect}/001_mask.png"), sample.mask * 255)
    assert "render(seed * 10000000 + 1000000 * b + k, 32, ...)" in (folder / "PROCEDURAL.txt").read_text()
    assert "2 for crack, 3 for cut, 4 for hole, 5 for print" in (folder / "PROCEDURAL.txt").read_text()


def test_a_taken_target_is_refused_and_untouched(tmp_path: Path):
    (tmp_path / "hazelnut").mkdir()
    mine = tmp_path / "hazelnut" / "mine.txt"
    mine.write_text("mine")
    with pytest.raises(OutputError, match="hazelnut already holds something; choose another --output or remove it"):
        write_demo(tmp_path, resolution=32, good=1, test_good=0, per_defect=0)
    assert mine.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hazelnut"]


def test_an_empty_target_is_used_and_neighbours_are_kept(tmp_path: Path):
    (tmp_path / "hazelnut").mkdir()
    (tmp_path / "bottle").mkdir()
    folder = write_demo(tmp_path, resolution=32, good=1, test_good=0, per_defect=0)
    assert (folder / "train" / "good" / "000.png").is_file()
    assert {entry.name for entry in tmp_path.iterdir()} == {"hazelnut", "bottle"}


def test_a_root_that_is_a_file_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_demo(tmp_path / "file", resolution=32, good=1, test_good=0, per_defect=0)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(png, "encode_png", full)
    with pytest.raises(OutputError, match=r"no space left on the disk of .*\.png"):
        write_demo(tmp_path, resolution=32, good=2, test_good=0, per_defect=0)
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing_behind(tmp_path: Path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path, resolution=32, good=3, test_good=0, per_defect=0, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_negative_count_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="per_defect must be 0"):
        write_demo(tmp_path, resolution=32, per_defect=-1)
