"""Every mistake a user can make on the command line: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import errno
import pickle
import shutil
import sys

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from defect_synth.cli import main
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import FAST_64, TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.engine.checkpoint import load_checkpoint, save_checkpoint
from defect_synth.errors import OutputError
from tests.fake_data import write_mvtec


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A data folder, a run-like folder and broken relatives of both."""
    root = tmp_path_factory.mktemp("world")
    write_mvtec(root / "data", category="nut", defects={"hole": 4, "cut": 4}, good=12, size=40)
    torch.manual_seed(0)
    save_model(root / "run" / "defects" / "hole" / "model.safetensors", TINY, "dfmgan")
    save_model(root / "backbone.safetensors", TINY, "backbone")
    whole = (root / "run/defects/hole/model.safetensors").read_bytes()
    (root / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    save_file({"x": torch.zeros(2)}, root / "foreign.safetensors")
    checkpoint = load_checkpoint(root / "run/defects/hole/model.safetensors", DFMGANCard)
    info = checkpoint.card.model_copy(update={"model": FAST_64.model})
    save_checkpoint(root / "other.safetensors", info, checkpoint.tensors)
    (root / "snapshot.pkl").write_bytes(pickle.dumps({"G": print}))
    (root / "text.pkl").write_text("hello")
    (root / "started").mkdir()
    (root / "started" / "run.json").write_text('{"category": "bolt", "partition": "everything"}')
    (root / "full").mkdir()
    (root / "full" / "thesis.txt").write_text("mine")
    (root / "bare").mkdir()
    for name, change in BROKEN.items():
        shutil.copytree(root / "data", root / name)
        change(root / name / "nut")
    return root


def save_model(path, config, kind):
    network = DFMGAN(config.model) if kind == "dfmgan" else Backbone(config.model.backbone)
    info = DFMGANCard(kind=kind, model=config.model, category="nut", defect="hole" if kind == "dfmgan" else None)
    save_checkpoint(path, info, network.state_dict())


def first(folder, pattern):
    return sorted(folder.glob(pattern))[0]


def resize_mask(nut):
    cv2.imwrite(str(first(nut, "ground_truth/hole/*.png")), np.full((20, 20), 255, np.uint8))


def keep(nut, pattern, count):
    for path in sorted(nut.glob(pattern))[count:]:
        path.unlink()


def one_hole(nut):
    keep(nut, "test/hole/*", 1)
    keep(nut, "ground_truth/hole/*", 1)


BROKEN = {
    "wrong_mask": resize_mask,
    "no_masks": lambda nut: shutil.rmtree(nut / "ground_truth"),
    "corrupt": lambda nut: first(nut, "test/hole/*.png").write_bytes(b"\x89PNG and then nothing"),
    "one_good": lambda nut: keep(nut, "train/good/*", 1),
    "one_hole": one_hole,
    "empty_mask": lambda nut: cv2.imwrite(str(first(nut, "ground_truth/hole/*.png")), np.zeros((40, 40), np.uint8)),
}

TRAIN = ("train", "{w}/data", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY")
CASES = {
    "data path that is not there": (("check", "{w}/nowhere"), "does not exist"),
    "folder with nothing in it": (("check", "{w}/bare"), "no known layout"),
    "train on no data": (("train", "{w}/nowhere", "-o", "{w}/out"), "does not exist"),
    "no masks": (("train", "{w}/no_masks", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY"), "mask"),
    "mask of another size": (
        ("train", "{w}/wrong_mask", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY"),
        "20",
    ),
    "corrupt image": (("train", "{w}/corrupt", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY"), "png"),
    "one good image": (("train", "{w}/one_good", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY"), "good"),
    "one image of a defect": (
        ("train", "{w}/one_hole", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY"),
        "hole",
    ),
    "empty mask": (("train", "{w}/empty_mask", "-o", "{w}/out", "--method", "dfmgan", "--preset", "TINY"), "mask"),
    "wrong category": (("train", "{w}/data", "--category", "bolt", "-o", "{w}/out"), "no category 'bolt'"),
    "unknown defect": ((*TRAIN, "--defects", "holes"), "known: cut, hole"),
    "resolution 200": ((*TRAIN, "--resolution", "200"), "power of two, got 200"),
    "resolution 16": ((*TRAIN, "--resolution", "16"), "greater than or equal to 32"),
    "unknown preset": (
        ("train", "{w}/data", "-o", "{w}/out", "--method", "dfmgan", "--preset", "HUGE"),
        "known: PAPER_256",
    ),
    "unknown protocol": ((*TRAIN, "--protocol", "paper"), "known: corrected, official"),
    "unknown partition": ((*TRAIN, "--partition", "P9"), "known: P1"),
    "shard that is not there": (("generate", "{w}/run", "-o", "{w}/g", "--shard", "5/4"), "such as 2/8; got '5/4'"),
    "shard of another form": (("generate", "{w}/run", "-o", "{w}/g", "--shard", "2of4"), "PART/PARTS"),
    "too little memory": ((*TRAIN, "--max-memory", "0.1"), "pretrain needs about"),
    "setting below a value": ((*TRAIN, "--set", "pretrain.batch.size=8"), "did you mean"),
    "unknown setting": ((*TRAIN, "--set", "pretrain.batches=8"), "unknown setting 'pretrain.batches'"),
    "setting without value": ((*TRAIN, "--set", "pretrain.batch"), "NAME=VALUE"),
    "setting of many digits": ((*TRAIN, "--set", f"pretrain.learning_rate={'9' * 5000}"), "pretrain.learning_rate"),
    "setting of many brackets": ((*TRAIN, "--set", f"pretrain.batch={'[' * 5000}"), "pretrain.batch"),
    "setting out of bounds": ((*TRAIN, "--set", "pretrain.learning_rate=7"), "learning_rate"),
    "odd batch": ((*TRAIN, "--set", "transfer.batch=5", "--set", "pretrain.batch=8"), "odd"),
    "no time": ((*TRAIN, "--minutes", "0"), "minutes must be more than 0"),
    "output taken": (
        ("train", "{w}/data", "-o", "{w}/full", "--method", "dfmgan", "--preset", "TINY"),
        "is not a run folder",
    ),
    "run without resume": (
        ("train", "{w}/data", "-o", "{w}/started", "--method", "dfmgan", "--preset", "TINY"),
        "--resume",
    ),
    "resume of another category": (
        ("train", "{w}/data", "-o", "{w}/started", "--method", "dfmgan", "--preset", "TINY", "--resume"),
        "category 'bolt', now 'nut'",
    ),
    "float16 on a CPU": ((*TRAIN, "--precision", "float16", "--device", "cpu"), "float16 needs a GPU"),
    "unknown device": (("generate", "{w}/run", "-o", "{w}/g", "--device", "tpu9"), "unknown device"),
    "run that is not there": (("generate", "{w}/norun", "-o", "{w}/g"), "norun does not exist; expected demo"),
    "run without defects": (("generate", "{w}/bare", "-o", "{w}/g"), "defect"),
    "truncated checkpoint": (("generate", "{w}/truncated.safetensors", "-o", "{w}/g"), "damaged"),
    "foreign checkpoint": (("generate", "{w}/foreign.safetensors", "-o", "{w}/g"), "not written by defect-synth"),
    "checkpoint of another architecture": (("generate", "{w}/other.safetensors", "-o", "{w}/g"), "architecture"),
    "backbone cannot draw defects": (("generate", "{w}/backbone.safetensors", "-o", "{w}/g"), "cannot draw defects"),
    "pickle to generate": (("generate", "{w}/snapshot.pkl", "-o", "{w}/g"), "defect-synth import"),
    "generate an unknown defect": (("generate", "{w}/run", "-o", "{w}/g", "--defects", "cut"), "known: hole"),
    "no samples": (
        ("generate", "{w}/run", "-o", "{w}/g", "--count", "0"),
        "--count must be between 1 and",
    ),
    "negative seed": (
        ("generate", "{w}/run", "-o", "{w}/g", "--seed", "-1"),
        "904, got -1",
    ),
    "truncation 5": (
        ("generate", "{w}/run", "-o", "{w}/g", "--truncation-defect", "5"),
        "between 0 and 2, got 5",
    ),
    "import of a text file": (("import", "{w}/text.pkl", "-o", "{w}/x.safetensors"), "text.pkl"),
    "import of a pickle with a function": (("import", "{w}/snapshot.pkl", "-o", "{w}/x.safetensors"), "print"),
    "import into another format": (("import", "{w}/snapshot.pkl", "-o", "{w}/x.pt"), "must end in .safetensors"),
    "import of nothing": (("import", "{w}/none.pkl", "-o", "{w}/x.safetensors"), "none.pkl"),
    "info on nothing": (("info", "{w}/none.safetensors"), "does not exist; expected demo"),
    "benchmark of a category without data": (("benchmark", "--category", "bolt", "-o", "{w}/b"), "--data"),
    "benchmark without steps": (("benchmark", "--steps", "0", "-o", "{w}/b"), "steps"),
}


@pytest.mark.parametrize("case", CASES)
def test_mistake_gives_one_clear_line_and_exit_code_2(case, world, monkeypatch, capsys):
    arguments, expected = CASES[case]
    monkeypatch.setattr(sys, "argv", ["defect-synth", *(a.format(w=world) for a in arguments)])

    with pytest.raises(SystemExit) as stopped:
        main()

    err = capsys.readouterr().err.strip()
    assert stopped.value.code == 2
    assert err.startswith("error: ")
    assert "\n" not in err
    assert "Traceback" not in err
    assert expected in err
    assert not (world / "out" / "backbone").exists()


def test_check_lists_errors_and_exits_with_2(world, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["defect-synth", "check", str(world / "wrong_mask")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "20" in capsys.readouterr().out


def test_full_disk_is_named_and_the_old_file_stays(world, tmp_path, monkeypatch):
    import defect_synth.engine.checkpoint as module

    path = tmp_path / "model.safetensors"
    save_model(path, TINY, "backbone")
    before = path.read_bytes()

    def full(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(OutputError, match="no space left on the disk"):
        save_model(path, TINY, "backbone")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]
