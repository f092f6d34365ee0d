"""A trained painter, as a painter and as a source of samples."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.demo.models import shipped_painter
from defect_synth.errors import CheckpointError, ConfigError, DataError, UnknownDefectError
from defect_synth.painter import Painter
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.quality_check import PaintingLimits
from defect_synth.painter.train import train_painter
from defect_synth.product.foreground import find_foreground
from defect_synth.samples import DefectPainter, DefectSource
from tests.fake_data import fake_nut, write_mvtec

CONFIG = override(PAINT_TINY, {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.008})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painter")
    table = index(write_mvtec(folder, category="nut", defects={"hole": 3, "cut": 3}, good=5, size=64))
    output = folder / "run"
    train_painter(table, everything(table, 0.0, 0), CONFIG, output)
    return output


@pytest.fixture(scope="module")
def painter(run):
    return Painter.load(run)


def scene(seed=0, size=64):
    image, _ = fake_nut(np.random.default_rng(seed), size)
    mask = np.zeros((size, size), np.uint8)
    mask[size // 2 - 4 : size // 2 + 5, size // 2 - 7 : size // 2 + 6] = 1
    return image, mask


def test_a_painter_is_a_source_of_the_defects_that_it_learnt(painter):
    assert isinstance(painter, DefectPainter)
    assert isinstance(painter, DefectSource)
    assert painter.category == "nut"
    assert painter.defects == ("cut", "hole")


@pytest.mark.parametrize("shape", [(64, 64), (100, 70), (33, 150), (200, 200)])
def test_painting_changes_the_mask_and_nothing_else_at_any_size(painter, shape):
    rng = np.random.default_rng(1)
    image = rng.integers(60, 200, (*shape, 3), dtype=np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[5:15, 8:20] = mask[shape[0] - 6 :, shape[1] - 9 :] = 1

    painted = painter.paint(image, mask, "hole", seed=3)

    assert painted.shape == image.shape
    assert np.array_equal(painted[mask == 0], image[mask == 0])
    assert (painted != image).any(axis=2)[mask > 0].mean() > 0.5


def test_equal_arguments_give_equal_bytes_and_other_seeds_other_ones(painter):
    image, mask = scene()

    one, again, other = (painter.paint(image, mask, "hole", seed) for seed in (4, 4, 5))

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_bytes_do_not_depend_on_batch_threads_or_process(painter):
    image, mask = scene()
    alone = painter.paint(image, mask, "cut", 7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = painter.paint_many([image] * 4, [mask] * 4, "cut", [1, 7, 3, 9])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    elsewhere = pickle.loads(pickle.dumps(painter)).paint(image, mask, "cut", 7)

    assert np.array_equal(together[1], alone)
    assert np.array_equal(elsewhere, alone)


def test_samples_are_painted_on_the_normal_images_in_the_checkpoint(painter):
    samples = painter.sample("hole", [0, 1, 2])

    for sample, again in zip(samples, painter.sample("hole", [0, 1, 2]), strict=True):
        assert np.array_equal(sample.image, again.image)
        assert sample.mask.any()
        assert np.array_equal(sample.image[sample.mask == 0], sample.clean[sample.mask == 0])
        assert sample.provenance.method == "painter"
        assert sample.provenance.checkpoint == painter.digest
    assert np.array_equal(painter.sample("hole", [2])[0].image, samples[2].image)


def test_normal_images_can_be_given(run):
    image, _ = scene(9, 80)

    (sample,) = Painter.load(run, normals=[image]).sample("hole", [0])

    assert np.array_equal(sample.clean, image)


def test_proposed_masks_lie_on_the_product(painter):
    image, _ = scene()
    foreground = find_foreground(image)

    mask = painter.propose_mask("cut", foreground, 2)

    assert mask.any()
    assert not mask[~foreground].any()
    assert 0.3 < foreground.mean() < 0.7  # the disc


@pytest.mark.parametrize("shown", [1, 3])
def test_a_painting_without_numbers_is_repeated_and_reported_if_all_attempts_fail(run, shown):
    painter = Painter.load(run)
    image, mask = scene()
    region_painter = painter._region_painters["hole"]
    calls = []

    def broken(inputs):
        calls.append(inputs)
        colour, opacity = region_painter.network(inputs)
        return (colour * np.float32(np.nan) if len(calls) <= shown else colour), opacity

    painter._region_painters["hole"] = dataclasses.replace(region_painter, network=broken)

    if shown == 3:
        with pytest.raises(CheckpointError, match="--minutes"):
            painter.paint(image, mask, "hole", 0)
    else:
        painted = painter.paint(image, mask, "hole", 0)
        assert len(calls) > 1
        assert (painted != image).any()


@pytest.mark.parametrize(("donor_prob", "donors"), [(1e-9, [0, 0, 1]), (0.0, [0, 0, 0])])
def test_the_last_attempt_starts_from_a_donor_unless_donor_prob_is_0(run, donor_prob, donors):
    painter = Painter.load(run, donor_prob=donor_prob)
    image, mask = scene()
    region_painter = painter._region_painters["hole"]
    asked = []

    class Never(PaintingLimits):
        def excess(self, statistics):
            return 100.0 - len(asked)

    def network(inputs):
        asked.append(int(inputs.has_donor[0]))
        return region_painter.network(inputs)

    limits = Never([[0.0] * 5], [0.0])
    painter._region_painters["hole"] = dataclasses.replace(region_painter, network=network, limits=limits)
    painter.paint(image, mask, "hole", 0)

    assert asked == donors


def test_an_empty_mask_gives_the_image_back(painter):
    image, mask = scene()

    assert np.array_equal(painter.paint(image, np.zeros_like(mask), "hole", 0), image)


def test_mistakes_say_what_to_do(painter, run, tmp_path):
    image, mask = scene()
    with pytest.raises(UnknownDefectError, match="known: cut, hole"):
        painter.paint(image, mask, "dent", 0)
    with pytest.raises(DataError, match="divide a 0/255 mask by 255"):
        painter.paint(image, mask * np.uint8(255), "hole", 0)
    with pytest.raises(DataError, match="like its image"):
        painter.paint(image, mask[:-1], "hole", 0)
    with pytest.raises(ConfigError, match="seeds must be 0 or more"):
        painter.paint(image, mask, "hole", -1)
    with pytest.raises(ConfigError, match="donor_prob"):
        Painter.load(run, donor_prob=2.0)
    with pytest.raises(CheckpointError, match="--method painter"):
        Painter.load(tmp_path)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes((run / "painter" / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged"):
        Painter.load(broken)
    table = index(run.parent / "nut") if (run.parent / "nut").is_dir() else None
    if table is not None:
        with pytest.raises(CheckpointError, match="--resume"):
            train_painter(table, everything(table, 0.0, 0), CONFIG, run)


def test_donor_prob_chooses_between_free_and_donor_paintings(run):
    image, mask = scene()

    free = Painter.load(run, donor_prob=0.0).paint(image, mask, "hole", 1)
    donor = Painter.load(run, donor_prob=1.0).paint(image, mask, "hole", 1)

    assert not np.array_equal(free, donor)


def test_the_command_line_trains_a_painter(tmp_path):
    from typer.testing import CliRunner

    from defect_synth.cli import app

    data = write_mvtec(tmp_path, category="nut", defects={"hole": 2}, good=3, size=48)
    short = ["--set", "backbone.total_kimg=0.004", "--set", "painter.total_kimg=0.004"]
    command = ["train", str(data), "-o", str(tmp_path / "run"), "--method", "painter", "--preset", "PAINT_TINY", *short]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 0, result.output
    assert Painter.load(Path(tmp_path / "run")).defects == ("hole",)


def test_the_shipped_painter_paints_its_product():
    painter = Painter.load(shipped_painter())

    assert painter.category == "hazelnut"
    assert painter.defects == ("crack", "cut", "hole", "print")
    assert painter.path.stat().st_size < 4_000_000
    (sample,) = painter.sample("hole", [0])
    assert np.array_equal(sample.image[sample.mask == 0], sample.clean[sample.mask == 0])
    assert (sample.image != sample.clean).any()


def test_painters_that_give_other_samples_have_other_digests(run):
    """Features of samples are cached by the digest: a painter must not get those of another one."""
    image, _ = scene(9, 80)
    digests = {
        Painter.load(run, **settings).digest
        for settings in ({}, {"donor_prob": 0.0}, {"donor_prob": 1.0}, {"normals": [image]}, {"normals": [image] * 2})
    }
    assert len(digests) == 5
    assert Painter.load(run, donor_prob=0.0).digest in digests
