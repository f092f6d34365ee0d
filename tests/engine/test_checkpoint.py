from __future__ import annotations

import json
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file

from defect_synth.config import override
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import TINY
from defect_synth.engine.checkpoint import (
    FORMAT,
    Card,
    TrainingCard,
    checkpoint_kind,
    load_checkpoint,
    read_card,
    restore,
    save_checkpoint,
)
from defect_synth.errors import CheckpointError

CARD = TrainingCard(method="dfmgan", category="nut", defect="hole", trained_kimg=0.5, num_images=7,
                    training={"batch": 8, "learning_rate": 0.1}, versions={"torch": "2"})  # fmt: skip
TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(2.5, dtype=torch.float64), "n": torch.tensor([7])}


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "some.safetensors"
    save_checkpoint(path, CARD, TENSORS)
    return path


def test_what_is_saved_is_what_is_loaded(saved):
    checkpoint = load_checkpoint(saved, TrainingCard)
    assert checkpoint.card == read_card(saved, TrainingCard) == CARD
    assert checkpoint.path == saved
    assert checkpoint.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert checkpoint.tensors[name].equal(tensor)


def test_equal_content_is_equal_bytes_whatever_the_order_and_layout(saved, tmp_path):
    other = tmp_path / "other.safetensors"
    strided = TENSORS["b"].T.contiguous().T  # the same numbers, other strides
    save_checkpoint(other, CARD.model_copy(), {"n": TENSORS["n"], "b": strided, "a": TENSORS["a"]})
    assert other.read_bytes() == saved.read_bytes()
    assert load_checkpoint(other, TrainingCard).digest == load_checkpoint(saved, TrainingCard).digest


@pytest.mark.parametrize("change", [{"tensors": {**TENSORS, "n": torch.tensor([8])}}, {"card": {"num_images": 8}}])
def test_other_content_has_another_digest(change, saved, tmp_path):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, CARD.model_copy(update=change.get("card", {})), change.get("tensors", TENSORS))
    assert load_checkpoint(other, TrainingCard).digest != load_checkpoint(saved, TrainingCard).digest


def test_a_newer_format_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "newer.safetensors"
    save_checkpoint(path, CARD.model_copy(update={"format": FORMAT + 1}), TENSORS)
    with pytest.raises(CheckpointError, match=rf"format {FORMAT + 1}; this version reads up to {FORMAT}: upgrade"):
        load_checkpoint(path, TrainingCard)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_file_cut_short_is_refused(keep, saved):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match="damaged or not a safetensors file"):
        load_checkpoint(saved, TrainingCard)


class SetCard(Card):
    kind: Literal["one", "several"]


def test_another_kind_is_refused(saved, tmp_path):
    with pytest.raises(CheckpointError, match="holds a training checkpoint, but a one one is needed"):
        load_checkpoint(saved, SetCard)
    path = tmp_path / "set.safetensors"
    save_checkpoint(path, SetCard(kind="one", category="nut"), TENSORS)
    assert read_card(path, SetCard, "one").kind == "one"
    for read in (load_checkpoint, read_card):
        with pytest.raises(CheckpointError, match="holds a one checkpoint, but a several one is needed"):
            read(path, SetCard, "several")


def test_the_kind_of_a_file_is_read_from_its_header(saved, tmp_path):
    (tmp_path / "text").write_text("some text")
    save_file(TENSORS, tmp_path / "foreign.safetensors")
    assert checkpoint_kind(saved) == "training"
    assert [checkpoint_kind(tmp_path / name) for name in ("text", "foreign.safetensors", "none")] == [None] * 3


def test_the_header_key_that_painters_had_in_0_1_is_still_read(tmp_path):
    path = tmp_path / "old.safetensors"
    save_file(TENSORS, path, metadata={"defect_synth_painter": json.dumps(CARD.model_dump(mode="json"))})
    assert read_card(path, TrainingCard) == CARD


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, "not written by defect-synth"),
        ({"defect_synth": "no JSON"}, "damaged"),
        ({"defect_synth": json.dumps({"kind": "training"})}, "settings this version cannot read: category"),
        ({"defect_synth": json.dumps({**CARD.model_dump(mode="json"), "colour": 1})}, "cannot read: colour"),
        ({"defect_synth": json.dumps({**CARD.model_dump(mode="json"), "kind": "bank"})}, "holds a bank checkpoint"),
    ],
)
def test_a_header_of_another_program_or_version_is_refused(header, message, tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file(TENSORS, path, metadata=header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, TrainingCard)


@pytest.mark.parametrize(("name", "message"), [("none.safetensors", "no checkpoint"), ("snap.pkl", "never loaded")])
def test_a_missing_file_and_a_pickle_are_refused_with_the_command_to_use(name, message, tmp_path):
    if name.endswith(".pkl"):
        (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(CheckpointError, match=rf"{message}.*`defect-synth"):
        load_checkpoint(tmp_path / name, TrainingCard)


def test_weights_of_another_architecture_are_refused_with_the_first_difference(saved):
    wider = Backbone(override(TINY, {"model.backbone.w_dim": 64}).model.backbone)
    with pytest.raises(CheckpointError, match=r"another architecture: .* instead of .* differences"):
        restore(wider, Backbone(TINY.model.backbone).state_dict(), saved)
    with pytest.raises(CheckpointError, match="is missing"):
        restore(wider, {}, saved)
