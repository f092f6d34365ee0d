"""Painters in files: what is written is read, files of 0.1.0 open, and other files are refused."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from defect_synth.demo.models import shipped_painter
from defect_synth.engine.checkpoint import TrainingCard, save_checkpoint
from defect_synth.errors import CheckpointError
from defect_synth.painter.checkpoint import PainterCard, load_painter, painter_file, repack, save_painter
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.network import PainterModel

ASSETS = {"normal.000": torch.arange(5, dtype=torch.uint8)}


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PainterModel(PAINT_TINY.model, 2)


@pytest.fixture
def file(model, tmp_path):
    card = PainterCard(
        model=PAINT_TINY.model, category="nut", defects=("cut", "hole"), reference=64, product={"symmetry": {}},
        discriminator_features="image backbone",
    )  # fmt: skip
    save_painter(tmp_path / "model.safetensors", card, model.state_dict(), ASSETS)
    return tmp_path / "model.safetensors"


def test_what_is_written_is_read(file, model):
    loaded = load_painter(file)

    assert (loaded.card.category, loaded.card.defects, loaded.card.reference) == ("nut", ("cut", "hole"), 64)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.network.state_dict().items())
    assert torch.equal(loaded.assets["normal.000"], ASSETS["normal.000"])
    assert loaded.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_loading_leaves_the_global_random_state_alone(file):
    before = torch.get_rng_state()

    load_painter(file)

    assert torch.equal(torch.get_rng_state(), before)


def test_float16_takes_half_the_space_and_keeps_images(file, tmp_path):
    half = tmp_path / "half.safetensors"

    assert repack(file, half, half=True) == ("cut", "hole")

    assert half.stat().st_size < 0.6 * file.stat().st_size
    whole, loaded = load_painter(file), load_painter(half)
    assert torch.equal(loaded.assets["normal.000"], ASSETS["normal.000"])
    for name, value in whole.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], value.half().float())


def test_a_file_of_version_0_1_opens():
    path = shipped_painter()
    with safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {})["defect_synth_painter"])

    loaded = load_painter(path)

    assert loaded.card.discriminator_features == header["judges"]
    assert loaded.card.defects == tuple(header["defects"])
    assert loaded.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_other_files_are_refused(file, model, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, TrainingCard(method="painter", category="nut"), {})
    assert painter_file(other) is None
    with pytest.raises(CheckpointError, match="holds a training checkpoint, but a painter one is needed"):
        load_painter(other)
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    card = load_painter(file).card
    save_file(tensors, other, metadata={"defect_synth": card.model_copy(update={"format": 99}).model_dump_json()})
    with pytest.raises(CheckpointError, match="upgrade defect-synth"):
        load_painter(other)
    tensors.popitem()
    save_file(tensors, other, metadata={"defect_synth": card.model_dump_json()})
    with pytest.raises(CheckpointError, match="another architecture"):
        load_painter(other)


def test_the_file_of_a_run_folder_is_found(file, tmp_path):
    run = tmp_path / "run" / "painter"
    run.mkdir(parents=True)
    file.rename(run / "model.safetensors")
    (tmp_path / "text.safetensors").write_bytes(b"not a checkpoint")

    found = run / "model.safetensors"
    assert painter_file(run.parent) == painter_file(run) == painter_file(found) == found
    assert painter_file(tmp_path) is None
    assert painter_file(tmp_path / "text.safetensors") is None
    assert painter_file(tmp_path / "missing") is None
