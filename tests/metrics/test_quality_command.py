import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from defect_synth.cli import main
from defect_synth.data.layouts import index
from defect_synth.data.partitions import split
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.engine.checkpoint import save_checkpoint
from tests.fake_data import fake_nut, save, write_mvtec
from tests.metrics.test_lpips import random_weights


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Real nuts, a folder as `generate` writes it, an untrained run with a partition, LPIPS weights."""
    root = tmp_path_factory.mktemp("world")
    write_mvtec(root / "data", defects={"hole": 15, "cut": 12}, size=40)
    lines = []
    for seed in range(12):
        image, mask = fake_nut(np.random.default_rng(1000 + seed), 40, "hole")
        save(root / "generated/nut/test/hole" / f"{seed}.png", image)
        save(root / "generated/nut/ground_truth/hole" / f"{seed}.png", mask * np.uint8(255))
        line = {"method": "fake", "category": "nut", "defect": "hole", "seed": seed, "checkpoint": "", "parameters": {}}
        files = {"image": f"test/hole/{seed}.png", "mask": f"ground_truth/hole/{seed}.png"}
        lines.append(json.dumps(line | files))
    (root / "generated/nut/provenance.jsonl").write_text("\n".join(lines) + "\n")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DFMGAN(TINY.model)
    info = DFMGANCard(kind="dfmgan", model=TINY.model, category="nut", defect="hole")
    save_checkpoint(root / "run/defects/hole/model.safetensors", info, network.state_dict())
    split(index(root / "data", "nut"), "P1", 0.2).save(root / "run" / "partition.json")
    trunk, linear = random_weights()
    save_file(trunk, root / "alexnet.safetensors")
    torch.save(linear, root / "alex.pth")
    return root


def run(monkeypatch, capsys, *arguments):
    """(exit code, standard output, standard error)."""
    monkeypatch.setattr(sys, "argv", ["defect-synth", "quality", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_generated_folder_is_measured_against_a_named_partition(world, monkeypatch, capsys):
    folder = world / "generated"
    code, out, err = run(monkeypatch, capsys, folder, "--data", world / "data", "--partition", "P1")

    assert code == 0, err
    values = json.loads((folder / "quality.json").read_text())
    (hole,) = values["defects"]
    assert (hole["generated"], hole["training"], hole["held_out"]) == (12, 5, 10)
    assert (values["about"]["count"], values["about"]["for clusters"]) == ("12", "12")  # drawn, not asked for
    names = [figure["name"] for figure in hole["figures"]]
    assert "MMD x1000 (random convolutions), defect crop, to held-out defects" in names
    assert all(name in out for name in names)
    assert (folder / "quality.md").read_text() in out
    assert any((folder / "quality_cache").rglob("*.safetensors"))


def test_without_a_partition_all_real_defects_count_as_seen(world, monkeypatch, capsys, tmp_path):
    code, out, err = run(
        monkeypatch, capsys, world / "generated", "--data", world / "data", "-o", tmp_path / "q.json",
        "--lpips-alexnet", world / "alexnet.safetensors", "--lpips-lin", world / "alex.pth", "--lpips-count", 6,
    )  # fmt: skip

    assert code == 0, err
    (hole,) = json.loads((tmp_path / "q.json").read_text())["defects"]
    assert (hole["training"], hole["held_out"]) == (15, 0)
    names = [figure["name"] for figure in hole["figures"]]
    assert "clustered LPIPS, official (LPIPS-Alex), whole image, to training defects" in names
    assert "clustered LPIPS, corrected (LPIPS-Alex), whole image, to training defects" in names
    assert "memorisation" in out


def test_a_run_is_measured_against_its_own_partition(world, monkeypatch, capsys, tmp_path):
    code, _, err = run(
        monkeypatch, capsys, world / "run", "--data", world / "data", "--count", 4, "-o", tmp_path / "q.json"
    )

    assert code == 0, err
    (hole,) = json.loads((tmp_path / "q.json").read_text())["defects"]
    assert (hole["generated"], hole["training"], hole["held_out"]) == (4, 5, 10)
    assert "mask-change AUC" in [figure["name"] for figure in hole["figures"]] or hole["skipped"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist; expected demo"),
        (["generated", "--defects", "crack"], "unknown defect 'crack' for nut; known: hole"),
        (["generated", "--count", "1"], "--count must be between 2 and 1000000, got 1"),
        (["generated", "--lpips-lin", "alex.pth"], "LPIPS needs both .*--lpips-alexnet is missing"),
        (["generated", "--inception", "none.pth"], r"no file .*none\.pth; expected pt_inception-2015-12-05-6726825d"),
        (["generated", "--features", "no_such_network"], "timm has no model 'no_such_network'"),
        (
            ["generated", "--features", "resnet18=none.pth"],
            r"no file none\.pth; expected the weights of timm",
        ),
        (["generated", "--features", "none.pth"], r"no file none\.pth; expected efficientnet-lite0"),
        (["generated", "--partition", "P9"], "unknown partition 'P9'"),
        (["generated", "--category", "bolt"], "bolt"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(world, monkeypatch, capsys, arguments, message):
    import re

    monkeypatch.chdir(world)
    code, _, err = run(monkeypatch, capsys, *arguments, "--data", "data")
    assert code == 2
    assert re.search(message, err)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
