"""The one door: names, paths and objects -> sources and painters."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from defect_synth import DefectAugmenter, DefectSynthDataset
from defect_synth.compositor.bank import Bank, build_bank
from defect_synth.demo.hazelnut import DemoSource
from defect_synth.demo.models import shipped_painter
from defect_synth.dfmgan.synthesizer import DefectSynthesizer
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.export.generated_folder import SHEET, generate
from defect_synth.open import SHIPPED, open_painter, open_source
from defect_synth.painter import Painter
from defect_synth.samples import DefectPainter, DefectSample, DefectSource, FiniteSource, Provenance


@pytest.mark.parametrize(("name", "kind"), [("demo", Painter), ("demo-dfmgan", DefectSynthesizer), ("demo-bank", Bank)])
def test_each_shipped_name_means_one_thing_and_gives_samples(name, kind):
    source = open_source(name)
    assert type(source) is kind
    seeds = source.seeds("hole")[:1] if isinstance(source, FiniteSource) else [5]
    (sample,) = source.sample("hole", seeds)
    assert sample.defect == "hole"
    assert sample.mask.any()
    assert sample.provenance.category == source.category == "hazelnut"


@pytest.mark.parametrize("name", SHIPPED)
def test_whatever_opens_as_a_source_also_opens_to_paint_from(name):
    opened = open_painter(name)
    assert isinstance(opened, Bank | DefectPainter)
    assert open_painter(opened) is opened
    image = DemoSource(64).sample("hole", [1])[0].clean
    painted = DefectAugmenter(opened)(image, np.random.default_rng(0))
    np.testing.assert_array_equal(painted.image[painted.mask == 0], image[painted.mask == 0])


def test_the_demo_bank_is_drawn_once_in_a_program():
    assert open_painter("demo-bank") is open_painter("demo-bank")


def test_a_bank_on_disk_is_a_source_like_any_other(tmp_path):
    build_bank(DemoSource(64), tmp_path / "bank", count=3, defects=["hole"])
    source = open_source(tmp_path / "bank")
    assert isinstance(source, FiniteSource)
    assert isinstance(source, Bank)
    data = DefectSynthDataset(tmp_path / "bank")
    assert len(data) == 3
    folder = generate(source, tmp_path / "out", count=2)
    again = open_source(folder)
    first = source.sample("hole", source.seeds("hole")[:1])[0]
    np.testing.assert_array_equal(again.sample("hole", again.seeds("hole")[:1])[0].image, first.image)


def test_an_object_is_a_source_if_it_has_a_digest():
    class NoDigest:
        category, defects = "part", ("hole",)

        def sample(self, defect, seeds):
            return []

    source = DemoSource(64)
    assert open_source(source) is source
    assert isinstance(source, DefectSource)
    with pytest.raises(ConfigError, match="an object with category, defects, digest and sample; got NoDigest"):
        open_source(NoDigest())


def test_a_data_folder_is_recognised_and_what_to_do_is_said(tmp_path):
    from tests.fake_data import write_mvtec

    data = write_mvtec(tmp_path, category="nut", defects={"hole": 2}, good=4, size=40)
    with pytest.raises(DataError, match=r"is a data folder, not a run; train on it, or make a bank of its defects"):
        open_source(data)


def test_demo_is_the_shipped_painter_and_a_folder_of_that_name_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert isinstance(open_source("demo"), Painter)
    with pytest.raises(CheckpointError, match="has no defects"):
        open_source("./demo")
    with pytest.raises(CheckpointError, match="has no defects"):
        open_source(Path("demo"))


def test_a_painters_run_folder_and_its_file_give_the_same_samples(tmp_path):
    (tmp_path / "painter").mkdir()
    shutil.copy(shipped_painter(), tmp_path / "painter" / "model.safetensors")
    first, second = (open_source(path).sample("hole", [3])[0] for path in (tmp_path, shipped_painter()))
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
    with pytest.raises(DataError, match="nowhere does not exist; expected demo, demo-dfmgan, demo-bank, a run folder"):
        open_source("nowhere")


def test_truncation_of_a_painter_is_refused():
    with pytest.raises(
        ConfigError, match="truncation applies to the w_object and w_defect of a DFMGAN, and demo has none"
    ):
        open_source("demo", truncation_defect=0.7)


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
