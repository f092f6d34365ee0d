from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from defect_synth.benchmark.product import PRODUCT_SEED
from defect_synth.cli import app
from defect_synth.demo.models import shipped_dfmgan
from defect_synth.dfmgan.bundle import pack, unpack
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.synthesizer import DefectSynthesizer
from defect_synth.engine.checkpoint import load_checkpoint, read_card, save_checkpoint
from defect_synth.errors import CheckpointError
from tools import make_demo_dfmgan as demo_dfmgan

MODELS = Path(__file__).parents[2] / "defect_synth" / "demo" / "models"


def write_run(folder, defects, *, seed=0):
    """Untrained DFMGANs of one backbone whose masks are neither empty nor full."""
    torch.manual_seed(seed)
    backbone = DFMGAN(TINY.model).backbone.state_dict()
    for number, defect in enumerate(defects):
        torch.manual_seed(100 + number)
        network = DFMGAN(TINY.model)
        network.backbone.load_state_dict(backbone)
        network.residual.to_mask.bias.data.fill_(0.02)
        card = DFMGANCard(
            kind="dfmgan", model=TINY.model, category="nut", defect=defect, trained_kimg=number + 1.0, num_images=7
        )
        save_checkpoint(folder / "defects" / defect / "model.safetensors", card, network.state_dict())
    return folder


def files_of(run):
    return {path.parent.name: path for path in run.glob("defects/*/model.safetensors")}


def test_a_bundle_draws_the_samples_of_the_run(tmp_path):
    run = write_run(tmp_path / "run", ("cut", "hole"))
    bundle = tmp_path / "nut.safetensors"
    result = CliRunner().invoke(app, ["pack", str(run), "-o", str(bundle)])
    assert result.exit_code == 0, result.output
    apart, together = DefectSynthesizer.load(run), DefectSynthesizer.load(bundle)
    assert together.defects == ("cut", "hole")
    assert together.category == "nut"
    for defect in together.defects:
        for a, b in zip(apart.sample(defect, range(3)), together.sample(defect, range(3)), strict=True):
            assert np.array_equal(a.image, b.image)
            assert np.array_equal(a.mask, b.mask)
            assert np.array_equal(a.clean, b.clean)


def test_the_backbone_is_stored_once_and_half_halves_the_bytes(tmp_path):
    run = write_run(tmp_path / "run", ("cut", "hole", "print"))
    sizes = {}
    for half in (False, True):
        output = tmp_path / f"{half}.safetensors"
        pack(files_of(run), output, half=half)
        with safe_open(output, framework="pt") as file:
            names = list(file.keys())
            sizes[half] = sum(file.get_tensor(n).nbytes for n in names)
        assert len(names) == len(set(names))
    own = DFMGAN(TINY.model)
    shared = sum(t.nbytes for t in own.backbone.state_dict().values())
    total = sum(t.nbytes for t in own.state_dict().values())
    assert sizes[False] == shared + 3 * (total - shared)
    assert sizes[True] == pytest.approx(sizes[False] / 2, rel=0.01)
    assert len(DefectSynthesizer.load(tmp_path / "True.safetensors").sample("print", [0])) == 1


def test_the_card_of_each_defect_is_that_of_its_file(tmp_path):
    run = write_run(tmp_path / "run", ("cut", "hole"))
    pack(files_of(run), tmp_path / "p.safetensors")
    bundle = load_checkpoint(tmp_path / "p.safetensors", DFMGANCard)
    for defect, path in files_of(run).items():
        assert unpack(bundle, defect).card == read_card(path, DFMGANCard)
    with pytest.raises(CheckpointError, match="holds cut, hole"):
        unpack(bundle, "print")


def test_defects_of_two_runs_are_refused(tmp_path):
    one, two = write_run(tmp_path / "a", ("cut",)), write_run(tmp_path / "b", ("hole",), seed=1)
    with pytest.raises(CheckpointError, match="only defects of one run"):
        pack({**files_of(one), **files_of(two)}, tmp_path / "p.safetensors")
    assert not (tmp_path / "p.safetensors").exists()


@pytest.mark.parametrize(
    ("run", "output", "says"),
    [("empty", "p.safetensors", "no defects"), ("run", "p.pt", "must end in .safetensors")],
)
def test_pack_refuses_in_one_line(tmp_path, run, output, says):
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "run", ("cut",))
    result = CliRunner().invoke(app, ["pack", str(tmp_path / run), "-o", str(tmp_path / output)])
    assert result.exit_code != 0
    assert says in str(result.exception)


def test_the_shipped_file_is_made_by_its_own_command(tmp_path, monkeypatch):
    monkeypatch.setattr(
        demo_dfmgan, "IMAGES", {"resolution": 32, "good": 8, "test_good": 0, "per_defect": 5, "seed": 1}
    )
    monkeypatch.setattr(demo_dfmgan, "FAST_64", TINY)
    monkeypatch.setattr(demo_dfmgan, "SETTINGS", {"pretrain.total_kimg": 0.008})
    monkeypatch.setattr(demo_dfmgan, "KIMG", dict.fromkeys(demo_dfmgan.KIMG, 0.008))
    output = tmp_path / "demo_dfmgan.safetensors"
    demo_dfmgan.make(output)
    card = json.loads(output.with_suffix(".json").read_text())
    assert card["defects"] == ["crack", "cut", "hole", "print"]
    assert card["images"]["seed"] != PRODUCT_SEED
    assert read_card(output, DFMGANCard).licence_note == demo_dfmgan.LICENCE
    assert DefectSynthesizer.load(output).defects == ("crack", "cut", "hole", "print")


def test_the_dfmgan_that_ships_draws_every_defect_where_its_mask_says():
    synthesizer = DefectSynthesizer.load(shipped_dfmgan())
    assert synthesizer.defects == ("crack", "cut", "hole", "print")
    card = json.loads((MODELS / "demo_dfmgan.json").read_text("utf-8"))
    assert card["kind"] == "dfmgan-set"
    assert card["licence_note"] == demo_dfmgan.LICENCE
    for defect in synthesizer.defects:
        samples = synthesizer.sample(defect, range(6))
        share = [sample.mask.mean() for sample in samples]
        assert 0 < np.median(share) < 0.1
        for sample in samples:
            assert sample.clean is not None
            assert sample.image.std() > 10
            outside = sample.mask == 0
            there = np.abs(sample.image.astype(int) - sample.clean).max(axis=2)
            assert there[outside].mean() < 2
            assert not sample.mask.any() or there[sample.mask > 0].mean() > 5
