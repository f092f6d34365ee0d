"""One door for all kinds of runs and files."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from defect_synth.runs import open_run

from defect_synth import DefectSynthDataset
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.export.generate import SHEET, generate
from defect_synth.painter import Painter
from defect_synth.samples import DefectSample, Provenance

SHIPPED = Path(str(files("defect_synth") / "demo" / "models" / "demo_painter.safetensors"))


def test_demo_is_the_shipped_painter_and_a_folder_of_that_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert isinstance(open_run("demo"), Painter)
    with pytest.raises(CheckpointError, match="has no defects"):
        open_run("./demo")
    with pytest.raises(CheckpointError, match="has no defects"):
        open_run(Path("demo"))


def test_a_painters_run_folder_and_its_file_give_the_same_samples(tmp_path):
    (tmp_path / "painter").mkdir()
    shutil.copy(SHIPPED, tmp_path / "painter" / "model.safetensors")
    first, second = (open_run(path).sample("hole", [3])[0] for path in (tmp_path, SHIPPED))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.mask, second.mask)


def test_the_dataset_takes_demo_and_labels_what_is_painted():
    data = DefectSynthDataset("demo", length=4, include_clean=True)
    assert data.classes == ["crack", "cut", "hole", "print"]
    item = data[1]
    assert item["defect"] == data.classes[item["label"]]
    changed = (item["image"] != item["clean"]).any(0)
    assert changed.any()
    assert not (changed & (item["mask"] == 0)).any()  # every changed pixel is in the mask


def test_what_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such source: nowhere; expected 'demo', 'demo-dfmgan', a run folder"):
        open_run("nowhere")


def test_truncation_of_a_painter_is_refused():
    with pytest.raises(ConfigError, match="truncation is of a DFMGAN"):
        open_run("demo", truncation_defect=0.7)


class TwoSizes:
    category, defects, digest = "part", ("hole",), "two sizes"

    def sample(self, defect, seeds):
        sizes = {seed: (40, 700) if seed % 2 else (300, 90) for seed in seeds}
        return [
            DefectSample(np.full((*size, 3), seed, np.uint8), np.ones(size, np.uint8), defect,
                         Provenance("stub", "part", defect, seed))
            for seed, size in sizes.items()
        ]  # fmt: skip


def test_the_contact_sheet_holds_images_of_different_sizes(tmp_path):
    import cv2

    folder = generate(TwoSizes(), tmp_path, count=5)
    sheet = cv2.imread(str(folder / SHEET))
    assert sheet.shape == (2 * 256, 3 * (3 * 256 + 6), 3)  # two rows of triplets; 700 wide became 256
