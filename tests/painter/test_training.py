"""The painter's training: batches, losses, schedules, and a killed run that ends with the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.painter.config import PAINT_128, PAINT_256, PAINT_TINY, PainterModelConfig
from defect_synth.painter.network import ImageBackbone
from defect_synth.painter.stages import PainterStage, _decay, _relit
from defect_synth.painter.train import train_painter
from defect_synth.painter.training_data import (
    DefectImage,
    Movement,
    NormalImage,
    PainterData,
    _draw_codes,
)
from defect_synth.painter.training_set import PainterTrainingSet
from defect_synth.product.symmetry import Symmetry
from tests.fake_data import fake_nut, write_mvtec

FREE = Movement(quarter=True, any=True, half=True, mirror_x=True, mirror_y=True)

# SIGKILL comes from inside, at an exact iteration: no clean-up of any kind runs.
SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.painter.train import train_painter
from defect_synth.config import override
from defect_synth.painter.config import PAINT_TINY

data, output, stage, kimg = sys.argv[1:5]
config = override(PAINT_TINY, {"backbone.total_kimg": 0.024, "painter.total_kimg": 0.032,
                               "backbone.snapshot_kimg": 0.016, "painter.snapshot_kimg": 0.016})
table = index(data)

def report(progress):
    if progress.stage == stage and progress.done_kimg >= float(kimg):
        os.kill(os.getpid(), signal.SIGKILL)

train_painter(table, everything(table, 0.0, 0), config, Path(output), resume="--resume" in sys.argv, report=report)
"""


def train(data: Path, output: Path, *arguments: str) -> int:
    command = [sys.executable, "-c", SCRIPT, str(data), str(output), *arguments]
    return subprocess.run(command, check=False, timeout=280, cwd=Path(__file__).parents[2], env=os.environ).returncode


class Killed(BaseException):
    """What no clean-up catches."""


def test_a_run_that_dies_and_is_resumed_ends_with_the_same_bytes(tmp_path):
    table = index(write_mvtec(tmp_path, category="nut", defects={"hole": 2, "cut": 2}, good=3, size=40))
    lengths = {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.032, "painter.snapshot_kimg": 0.016}
    config = override(PAINT_TINY, lengths)

    def die(progress):
        if progress.stage == "painter" and progress.done_kimg >= 0.024:
            raise Killed

    def fit(name, report=None, resume=False):
        partition = everything(table, 0.0, 0)
        train_painter(table, partition, config, tmp_path / name, resume=resume, report=report)

    fit("whole")
    with pytest.raises(Killed):
        fit("cut", report=die)
    torch.manual_seed(99)  # nothing may depend on the global state
    fit("cut", resume=True)

    for name in ("painter/backbone/state.safetensors", "painter/state.safetensors", "painter/model.safetensors"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.slow
def test_killed_and_resumed_run_ends_with_the_same_bytes(tmp_path):
    data = write_mvtec(tmp_path, category="nut", defects={"hole": 3, "cut": 2}, good=4, size=48)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(data, whole, "none", "0") == 0

    assert train(data, cut, "painter", "0.024") == -signal.SIGKILL
    assert train(data, cut, "none", "0", "--resume") == 0

    for name in ("painter/backbone/state.safetensors", "painter/state.safetensors", "painter/model.safetensors"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    normals = [NormalImage(fake_nut(rng, 64)[0], np.ones((64, 64), bool)) for _ in range(3)]
    return normals, {name: [DefectImage(*fake_nut(rng, 64, name)) for _ in range(3)] for name in ("hole", "cut")}


@pytest.fixture(scope="module")
def data(images):
    normals, defects = images

    def propose(defect, normal, seed):
        mask = np.zeros(normal.foreground.shape, np.uint8)
        y, x = np.random.default_rng(seed).integers(10, 44, 2)
        mask[y : y + 9, x : x + 9] = 1
        return mask

    return PainterData(normals, defects, PAINT_TINY.model, FREE, propose, seed=0)


def test_batches_are_functions_of_the_iteration(data):
    one, again, other = data.paint(5, 4, pairs=1, donor_prob=0.5), data.paint(5, 4, pairs=1, donor_prob=0.5), None
    other = data.paint(6, 4, pairs=1, donor_prob=0.5)

    assert torch.equal(one.view, again.view)
    assert torch.equal(one.donor, again.donor)
    assert torch.equal(one.codes.z, again.codes.z)
    assert not torch.equal(one.view, other.view)
    assert torch.equal(data.real(3, 4).view, data.real(3, 4).view)


def test_pairs_differ_in_their_codes_only(data):
    batch = data.paint(1, 8, pairs=2, donor_prob=0.5)

    for a, b in ((0, 4), (1, 5)):
        assert torch.equal(batch.view[a], batch.view[b])
        assert torch.equal(batch.mask[a], batch.mask[b])
        assert batch.label[a] == batch.label[b]
        assert not torch.equal(batch.codes.z[a], batch.codes.z[b])
    assert not torch.equal(batch.view[2], batch.view[6])


def test_all_defects_are_shown_alike_and_real_views_show_them(data):
    batch = data.real(0, 16)

    assert batch.label.bincount().tolist() == [8, 8]
    inside = (batch.view.mean(dim=1, keepdim=True) * batch.mask).sum() / batch.mask.sum()
    assert inside < -0.4  # the fake defects are dark brown on a light nut


def test_light_moves_brightness_and_not_structure(rng):
    view = torch.rand(3, 3, 8, 8, generator=rng)

    lit = _relit(view, torch.rand(3, 3, generator=rng))
    same = _relit(view, torch.full((3, 3), 0.5))

    torch.testing.assert_close(same, view)
    for a, b in zip(view, lit, strict=True):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.97


def test_codes_do_not_depend_on_the_appearance(rng):
    one, two = (
        _draw_codes(PAINT_TINY.model, torch.Generator().manual_seed(1), look)
        for look in (torch.zeros(1, 6), torch.ones(1, 6))
    )

    assert torch.equal(one.z, two.z)
    assert torch.equal(one.fine_map, two.fine_map)


def test_learning_rates_follow_images_and_end_at_a_tenth():
    config = PAINT_TINY.painter.model_copy(update={"total_kimg": 0.3, "batch": 4})
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
    rates = []
    for iteration in (0, 49, 62, 75):
        _decay(optimizer, config, 0.02, iteration)
        rates.append(optimizer.param_groups[0]["lr"])

    assert rates[:2] == [0.02, 0.02]
    assert 0.01 < rates[2] < 0.013
    assert rates[3] == pytest.approx(0.002)


def test_a_time_budget_fixes_the_length_in_images():
    longer = PAINT_128.for_minutes(20)

    assert longer.painter.total_kimg == pytest.approx(2 * PAINT_128.painter.total_kimg)
    assert longer == PAINT_128.for_minutes(20)
    assert PAINT_128.for_minutes(PAINT_128.minutes) == PAINT_128


def test_presets_are_what_they_are_called_and_wrong_settings_are_named():
    assert (PAINT_128.model.side, PAINT_256.model.side) == (128, 256)
    assert override(PAINT_128, {"painter.batch": 8}).painter.batch == 8
    with pytest.raises(ConfigError, match=r"unknown setting 'painter\.bach'"):
        override(PAINT_128, {"painter.bach": 8})
    with pytest.raises(ConfigError, match=r"painter\.batch"):
        override(PAINT_128, {"painter.batch": 1})


@pytest.mark.parametrize("setting", ["r1_gamma", "path_length_weight", "style_mixing_prob", "mirror", "augment.mode"])
@pytest.mark.parametrize("stage", ["backbone", "painter"])
def test_settings_that_only_a_gan_uses_are_unknown(stage, setting):
    with pytest.raises(ConfigError, match=rf"unknown setting '{stage}\.{setting}'"):
        override(PAINT_128, {f"{stage}.{setting}": 5})


@pytest.mark.parametrize("stage", ["backbone", "painter"])
def test_batches_cannot_be_divided(stage):
    with pytest.raises(ConfigError, match="does not divide its batches; leave out micro_batch"):
        override(PAINT_128, {f"{stage}.micro_batch": 8})


def test_a_backbone_of_other_sizes_is_refused(images, tmp_path):
    normals, defects = images
    training_set = PainterTrainingSet.of("nut", normals, defects, Symmetry(), PAINT_TINY)
    with torch.random.fork_rng(devices=[]):
        other = ImageBackbone(PainterModelConfig(side=32, channels=(16, 32, 16, 16, 16))).state_dict()
        with pytest.raises(CheckpointError, match="another architecture"):
            PainterStage(PAINT_TINY, training_set, other, tmp_path / "model.safetensors", None)
