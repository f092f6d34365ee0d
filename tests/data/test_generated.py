from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from defect_synth.data.generated import FolderSource
from defect_synth.datasets.defect_dataset import DefectSynthDataset
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.samples import DefectSource, FiniteSource
from tests.fake_sources import NoiseSource, write_generated


def test_folder_gives_back_what_was_generated(tmp_path):
    source = NoiseSource()
    folder = write_generated(tmp_path, source, {"hole": [7, 3], "crack": [0, 1, 5]})

    read = FolderSource(folder)

    assert isinstance(read, FiniteSource)
    assert isinstance(read, DefectSource)
    assert (read.category, read.defects, read.seeds("hole")) == ("hazelnut", ("crack", "hole"), (3, 7))
    for sample, seed in zip(read.sample("crack", [5, 0]), (5, 0), strict=True):
        expected = source.one("crack", seed)
        assert np.array_equal(sample.image, expected.image)
        assert np.array_equal(sample.mask, expected.mask)
        assert np.array_equal(sample.clean, expected.clean)
        assert sample.provenance == expected.provenance


def test_folder_names_a_missing_seed(tmp_path):
    read = FolderSource(write_generated(tmp_path, NoiseSource(), {"hole": [7, 3]}))
    with pytest.raises(DataError, match="no sample of 'hole' with seed 4: it holds 2 seeds from 3 to 7"):
        read.sample("hole", [3, 4])
    with pytest.raises(UnknownDefectError, match="known: hole"):
        read.sample("crack", [3])
    with pytest.raises(ConfigError, match="per_defect 3 is more than the 2 samples of 'hole'; use 2"):
        DefectSynthDataset(tmp_path, per_defect=3)


def test_the_digest_follows_the_pictures_and_not_their_place(tmp_path):
    folder = write_generated(tmp_path / "a", NoiseSource(), {"hole": [0, 1]})
    digest = FolderSource(folder).digest
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert FolderSource(tmp_path / "b").digest == digest
    for place in ("test/hole/000001.png", "ground_truth/hole/000001_mask.png", "clean/hole/000001.png"):
        path = folder / place
        whole, pixels = path.read_bytes(), np.array(Image.open(path))
        pixels[5, 5] ^= 255
        Image.fromarray(pixels).save(path)
        assert FolderSource(folder).digest != digest
        path.unlink()
        assert FolderSource(folder).digest != digest
        path.write_bytes(whole)
        assert FolderSource(folder).digest == digest


def test_damaged_folders_are_named(tmp_path):
    folder = write_generated(tmp_path, NoiseSource(), {"hole": [0, 1]})
    read = FolderSource(folder)
    (folder / "test/hole/000000.png").write_bytes(b"\x89PNG")
    (folder / "ground_truth/hole/000001_mask.png").unlink()
    with pytest.raises(DataError, match=r"000000\.png cannot be read as an image"):
        read.sample("hole", [0])
    with pytest.raises(DataError, match=r"000001_mask\.png is named in provenance\.jsonl but missing"):
        read.sample("hole", [1])

    index = folder / "provenance.jsonl"
    lines = index.read_text()
    index.write_text(lines + lines)
    with pytest.raises(DataError, match="line 3: seed 0 of 'hole' is there twice"):
        FolderSource(folder)
    index.write_text("{}\n")
    with pytest.raises(DataError, match="line 1: not a sample's record"):
        FolderSource(folder)
    index.write_text("")
    with pytest.raises(DataError, match="expected samples of one category, found no sample"):
        FolderSource(folder)


def test_several_categories_must_be_told_apart(tmp_path):
    write_generated(tmp_path, NoiseSource(), {"hole": [0]})
    (tmp_path / "hazelnut").rename(tmp_path / "other")
    write_generated(tmp_path, NoiseSource(), {"hole": [0]})
    with pytest.raises(DataError, match=r"holds several categories \(hazelnut, other\)"):
        DefectSynthDataset(tmp_path)
