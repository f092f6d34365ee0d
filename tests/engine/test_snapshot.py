"""A snapshot that cannot be gone on from is refused in one line."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.pretrain import PretrainStage
from defect_synth.engine.log import Tick
from defect_synth.engine.snapshot import Snapshot
from defect_synth.errors import CheckpointError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("snapshot")
    Snapshot(stage(), folder, Tick()).save(3)
    return folder / "state.safetensors"


def stage():
    side = TINY.model.backbone.resolution
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3), dtype=np.uint8)
    arrays = ImageArrays(images, np.zeros((8, side, side), np.uint8), tuple(map(str, range(8))))
    return PretrainStage(TINY, "nut", arrays, None, device=torch.device("cpu"))


def number(name, value):
    return {f"number.{name}": torch.tensor(float(value), dtype=torch.float64)}


CASES = {
    "iteration NaN": (number("iteration", "nan"), "iteration is nan"),
    "iteration infinite": (number("iteration", "inf"), "iteration is inf"),
    "iteration -1": (number("iteration", -1), "iteration is -1"),
    "half an iteration": (number("iteration", 0.5), "iteration is 0.5"),
    "iteration 1e300": (number("iteration", 1e300), "iteration is 1e"),
    "best infinite": (number("best_score", "inf"), "best_score is inf"),
    "best kimg NaN": (number("best_kimg", "nan"), "best_kimg is nan"),
    "several numbers": ({"number.iteration": torch.zeros(2)}, "whole snapshot"),
    "no kind": ({"x": torch.zeros(2)}, "whole snapshot"),
    "an unknown module": ({"module.generator.x": torch.zeros(2)}, r"whole snapshot \(it has weights of generator.x"),
}


@pytest.mark.parametrize("case", CASES)
def test_numbers_and_names_that_are_none_are_one_line(case, saved, tmp_path):
    change, words = CASES[case]
    refused(saved, tmp_path, change, words)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["module.", "scalar."])
def test_a_state_that_diverged_is_one_line(kind, value, saved, tmp_path):
    with safe_open(saved, framework="pt") as opened:
        name = next(n for n in sorted(opened.keys()) if n.startswith(kind) and opened.get_tensor(n).is_floating_point())
        tensor = opened.get_tensor(name)
    tensor.view(-1)[0] = value
    refused(saved, tmp_path, {name: tensor}, f"NaN or infinity instead of weights, first in '{re.escape(name)}'")


def refused(saved, tmp_path, change, words):
    with safe_open(saved, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
        metadata = opened.metadata()
    save_file(tensors | change, tmp_path / "state.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=words) as error:
        Snapshot(stage(), tmp_path, Tick()).load()
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)
