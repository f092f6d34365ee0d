"""Checkpoints: what goes in comes out, equal content is equal bytes, and anything else is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from defect_synth.config import override
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.engine.checkpoint import (
    FORMAT,
    CheckpointInfo,
    build_generator,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from defect_synth.errors import CheckpointError

INFO = CheckpointInfo(kind="training", model=TINY.model, category="nut", defect="hole", trained_kimg=0.5,
                      training={"batch": 8, "learning_rate": 0.1}, score=0.25, versions={"torch": "2"})  # fmt: skip
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(2.5, dtype=torch.float64), "n": torch.tensor([7])}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "some.safetensors"
    save_checkpoint(path, INFO, TENSORS)
    return path


def test_what_is_saved_is_what_is_loaded(saved):
    checkpoint = load_checkpoint(saved, "training")
    assert checkpoint.info == INFO
    assert checkpoint.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert checkpoint.tensors[name].equal(tensor)


def test_equal_content_is_equal_bytes_whatever_the_order_and_layout(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    strided = TENSORS["b"].T.contiguous().T  # the same numbers, other strides
    save_checkpoint(other, INFO.model_copy(), {"n": TENSORS["n"], "b": strided, "a": TENSORS["a"]})
    assert other.read_bytes() == saved.read_bytes()
    assert load_checkpoint(other).digest == load_checkpoint(saved).digest


@pytest.mark.parametrize("change", [{"tensors": {**TENSORS, "n": torch.tensor([8])}}, {"info": {"score": 0.5}}])
def test_other_content_has_another_digest(change, saved, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, INFO.model_copy(update=change.get("info", {})), change.get("tensors", TENSORS))
    assert load_checkpoint(other).digest != load_checkpoint(saved).digest


def test_a_newer_format_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "newer.safetensors"
    save_checkpoint(path, INFO.model_copy(update={"format": FORMAT + 1}), TENSORS)
    with pytest.raises(CheckpointError, match=rf"format {FORMAT + 1}; this version reads up to {FORMAT}: upgrade"):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(keep, saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_checkpoint(saved)


def test_another_kind_is_refused(saved):
    with pytest.raises(CheckpointError, match="holds a training checkpoint, but a dfmgan one is needed"):
        load_checkpoint(saved, "dfmgan")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "not written by defect-synth"),
        ({"defect_synth": "no JSON"}, "damaged"),
        ({"defect_synth": json.dumps({"kind": "training"})}, "settings this version cannot read: model"),
        ({"defect_synth": json.dumps({**INFO.model_dump(mode="json"), "colour": 1})}, "cannot read: colour"),
        ({"defect_synth": json.dumps({**INFO.model_dump(mode="json"), "kind": "bank"})}, "cannot read: kind"),
    ],
)
def test_a_header_of_another_program_or_version_is_refused(header, message, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(TENSORS, path, metadata=header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(("name", "message"), [("none.safetensors", "no checkpoint"), ("snap.pkl", "never loaded")])
def test_a_missing_file_and_a_pickle_are_refused_with_the_command_to_use(name, message, tmp_path):
    if name.endswith(".pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(CheckpointError, match=rf"{message}.*`defect-synth"):
        load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(("kind", "network"), [("dfmgan", DFMGAN), ("backbone", Backbone)])
def test_a_generator_comes_back_ready_to_generate_and_leaves_the_random_state_alone(kind, network, tmp_path):
    torch.manual_seed(3)
    before = network(TINY.model if kind == "dfmgan" else TINY.model.backbone)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, INFO.model_copy(update={"kind": kind}), before.state_dict())
    state = torch.get_rng_state()

    after = build_generator(load_checkpoint(path, kind))

    assert torch.get_rng_state().equal(state)
    assert isinstance(after, network)
    assert not after.training
    assert not any(p.requires_grad for p in after.parameters())
    assert all(after.state_dict()[name].equal(tensor) for name, tensor in before.state_dict().items())


def test_weights_of_another_architecture_are_refused_with_the_first_difference(saved):
    wider = Backbone(override(TINY, {"model.backbone.w_dim": 64}).model.backbone)
    with pytest.raises(CheckpointError, match=r"another architecture: .* instead of .* differences"):
        restore(wider, Backbone(TINY.model.backbone).state_dict(), saved)
    with pytest.raises(CheckpointError, match="is missing"):
        restore(wider, {}, saved)
