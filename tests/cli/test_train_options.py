"""Every option of `train`, for every method: it changes what is trained, or it is refused by name."""

from __future__ import annotations

import json

import pytest
import torch

from defect_synth.cli.methods import METHODS, options_of
from defect_synth.dfmgan.config import TINY
from tests.cli.test_cli import run
from tests.fake_data import write_mvtec

OPTIONS = {
    # option: (its name in MethodOptions; None: every method takes it, arguments that differ from the default)
    "--category": (None, ("--category", "nut")),
    "--defects": (None, ("--defects", "hole")),
    "--partition": (None, ("--partition", "P1")),
    "--minutes": (None, ("--minutes", "7")),
    "--resume": (None, ("--resume",)),
    "--seed": (None, ("--seed", "11")),
    "--preset": ("preset", None),
    "--resolution": ("resolution", ("--resolution", "32")),
    "--set": ("set", None),
    "--device": ("device", ("--device", "cuda:1")),
    "--precision": ("precision", ("--precision", "float32")),
    "--protocol": ("protocol", ("--protocol", "official")),
    "--safe-augment": ("safe_augment", ("--safe-augment",)),
    "--features": ("features", ("--features", "weights.pth")),
    "--max-memory": ("max_memory", ("--max-memory", "1.5")),
    "--from-dfmgan": ("from_dfmgan", ("--from-dfmgan", "demo-dfmgan")),
    "--pose": ("pose", ("--pose", "none")),
}
PRESETS = {"painter": "PAINT_TINY", "dfmgan": "TINY"}
SETTINGS = {
    "painter": "painter.learning_rate=0.005",
    "dfmgan": "pretrain.r1_gamma=3",
    "finetune": "config.pretrain.r1_gamma=3",
    "diffaug": "config.pretrain.r1_gamma=3",
    "cdc": "anchor_std=0.3",
    "sdgan": "cycle_weight=3",
    "defect-gan": "map_area_weight=3",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return write_mvtec(root, category="nut", defects={"hole": 6, "cut": 6}, good=10, size=40)


@pytest.fixture
def asked(monkeypatch):
    """What the command would have trained, in place of training it."""
    seen = []

    def record(method, request):
        seen.append((method, request))
        return {}

    monkeypatch.setattr("defect_synth.engine.runner.train", record)
    # As if this machine had two GPUs and took the CPU by default.
    monkeypatch.setattr(
        "defect_synth.nn.device.choose_device", lambda name: torch.device(name if name == "cuda:1" else "cpu")
    )
    monkeypatch.setattr("defect_synth.metrics.efficientnet.EfficientNetLite0", lambda path: f"features from {path}")
    return seen


def arguments(option, method):
    if option == "--preset":
        return ("--preset", PRESETS.get(method, "paper"))
    if option == "--set":
        return ("--set", SETTINGS[method])
    return OPTIONS[option][1]


def fingerprint(method, request):
    """All that determines the training."""
    given = {name: str(value) for name, value in vars(method).items() if "config" not in name and "system" not in name}
    described = json.dumps(method.described(), default=str, sort_keys=True)
    asked_for = (request.chosen_defects, request.partition, request.device, request.minutes, request.resume)
    return described, given, asked_for


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_used_or_refused_by_name(method, option, data, asked, tmp_path, monkeypatch, capsys):
    name, _ = OPTIONS[option]
    given = arguments(option, method)
    # A category can only be chosen in a folder of categories, where the choice matters.
    place = data.parent if option == "--category" else data
    base = ("--method", method)
    if name is not None and name not in options_of(method):
        said = run(monkeypatch, capsys, "train", place, "-o", tmp_path / "run", *base, *given, code=2)
        assert f"error: {option} has no effect on --method {method} (it is for " in said.err
        assert not asked
        assert not (tmp_path / "run").exists()
        return
    run(monkeypatch, capsys, "train", data, "-o", tmp_path / "run", *base)
    run(monkeypatch, capsys, "train", place, "-o", tmp_path / "run", *base, *given)
    plain, changed = (fingerprint(*each) for each in asked)
    if option == "--category":
        assert asked[1][1].table.category == "nut"
    else:
        assert plain != changed


def test_the_default_method_is_the_painter(data, asked, tmp_path, monkeypatch, capsys):
    said = run(monkeypatch, capsys, "train", data, "-o", tmp_path / "run").out
    assert asked[0][0].method == "painter"
    assert "nut: painter, PAINT_128, views of 128 px" in said


@pytest.mark.parametrize(
    ("method", "setting", "words"),
    [
        ("painter", "painter.r1_gamma=5", "unknown setting 'painter.r1_gamma'"),
        ("painter", "painter.augment.mode=none", "unknown setting 'painter.augment.mode'"),
        ("painter", "backbone.path_length_weight=1", "unknown setting 'backbone.path_length_weight'"),
        ("sdgan", "stage.r1_gamma=5", "unknown setting 'stage.r1_gamma'"),
        ("defect-gan", "stage.style_mixing_prob=0.5", "unknown setting 'stage.style_mixing_prob'"),
        ("dfmgan", "pretrain.lambda_match=1", "unknown setting 'pretrain.lambda_match'"),
    ],
)
def test_a_setting_that_a_stage_cannot_use_does_not_exist(
    method, setting, words, data, asked, tmp_path, monkeypatch, capsys
):
    command = ("train", data, "-o", tmp_path / "run", "--method", method, "--set", setting)
    assert words in run(monkeypatch, capsys, *command, code=2).err
    assert not asked


def test_several_processes_are_refused_by_methods_that_train_in_one(monkeypatch):
    from defect_synth.cli.methods import MethodOptions, plan
    from defect_synth.errors import ConfigError

    with pytest.raises(ConfigError, match="--method painter trains in one process, but 2 were started"):
        plan("painter", MethodOptions(), 0, None, processes=2)
    assert plan("dfmgan", MethodOptions(preset="TINY"), 0, None, processes=2).method.config == TINY
    assert torch.distributed.is_available()
