"""Every command opens the same sources, and refuses an option that has no effect on what it opened."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from defect_synth.compositor.bank import build_bank
from defect_synth.demo.hazelnut import DemoSource
from defect_synth.export.generated_folder import generate
from tests.cli.test_cli import run
from tests.fake_data import write_mvtec
from tests.fake_painter import FakePainter


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a bank, a generated folder, data and a normal image."""
    root = tmp_path_factory.mktemp("world")
    build_bank(DemoSource(64), root / "bank", count=3, defects=["hole"])
    generate(FakePainter(), root / "made", count=5)
    write_mvtec(root, category="nut", defects={"hole": 6}, good=8, size=40)
    cv2.imwrite(str(root / "normal.png"), DemoSource(64).sample("hole", [1])[0].clean[..., ::-1])
    mask = np.zeros((64, 64), np.uint8)
    mask[28:36, 28:36] = 255
    cv2.imwrite(str(root / "mask.png"), mask)
    (root / "demo").mkdir()
    return root


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("demo", ("kind: painter", "on given images: painted")),
        ("demo-bank", ("kind: bank", "on given images: pasted\n")),
        ("demo-dfmgan", ("kind: DFMGAN", "on given images: pasted from a few recorded samples")),
        ("bank", ("kind: bank", "defect: hole (3 samples)")),
        ("made", ("kind: generated folder", "defect: hole (5 samples)")),
    ],
)
def test_info_says_in_the_users_words_what_a_source_is(world, monkeypatch, capsys, source, words):
    monkeypatch.chdir(world)  # where a folder called demo is, which `demo` never means
    said = run(monkeypatch, capsys, "info", source).out
    for word in words:
        assert word in said


def test_a_shipped_name_is_no_path_in_any_command(world, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(world)
    assert "demo is a painter" in run(monkeypatch, capsys, "export", "demo", "-o", tmp_path / "e", code=2).err
    assert (
        "demo ships with the package"
        in run(monkeypatch, capsys, "pack", "demo", "-o", tmp_path / "p.safetensors", code=2).err
    )
    run(monkeypatch, capsys, "bank", "demo-bank", "-o", tmp_path / "b", "--count", 1, "--defects", "hole")
    assert (tmp_path / "b" / "bank.json").is_file()


def test_what_is_exported_may_be_a_shipped_bank(monkeypatch, capsys, tmp_path):
    said = run(monkeypatch, capsys, "export", "demo-bank", "-o", tmp_path / "coco", "--defects", "hole").out
    assert "samples in" in said
    names = {c["name"] for f in (tmp_path / "coco").rglob("*.json") for c in json.loads(f.read_text())["categories"]}
    assert "hole" in names


def test_the_seed_of_a_bank_counts_for_a_finite_source_too(world, monkeypatch, capsys, tmp_path):
    for seed in (0, 2):
        run(monkeypatch, capsys, "bank", world / "made", "-o", tmp_path / f"{seed}", "--count", 2, "--seed", seed)
    recorded = {
        seed: [json.loads(line)["seed"] for line in (tmp_path / seed / "provenance.jsonl").read_text().splitlines()]
        for seed in ("0", "2")
    }
    assert recorded["0"] != recorded["2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bank", "nut", "--real", "--seed", "3", "-o", "OUT"), "--seed has no effect on real images"),
        (("bank", "nut", "--real", "--device", "cuda", "-o", "OUT"), "--device has no effect on real images"),
        (("generate", "demo", "--device", "cuda:0", "-o", "OUT"), "demo is a painter, which works on the CPU"),
        (("generate", "bank", "--device", "cuda:0", "-o", "OUT"), "bank is a bank, which works on the CPU"),
        (("generate", "made", "--device", "cuda:0", "-o", "OUT"), "made is a generated folder, which works on the CPU"),
        (("generate", "demo", "--defects", "hole,", "-o", "OUT"), "expected names with a comma between them"),
        (("benchmark", "--category", "hazelnut,", "-o", "OUT"), "expected names with a comma between them"),
        (("paint", "normal.png", "-o", "OUT.png", "--mask", "mask.png", "--at", "3,4"), "--at has no effect"),
        (("paint", "normal.png", "-o", "OUT.png", "--mask", "mask.png", "--scale", "2"), "--scale has no effect"),
        (("pack", "bank", "-o", "OUT.safetensors"), "bank is a bank, which cannot be written as one file"),
        (("info", "--preset", "PAINT_128"), "PAINT_128 is a preset of the painter"),
    ],
)
def test_an_option_without_effect_is_refused(world, monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(world)
    out = tmp_path / "out"
    said = run(monkeypatch, capsys, *(a.replace("OUT", str(out)) for a in arguments), code=2)
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_resuming_with_another_partition_is_refused(world, monkeypatch, capsys, tmp_path):
    tiny = ("--preset", "PAINT_TINY", "--minutes", "1")
    train = ("train", world / "nut", "-o", tmp_path / "run", *tiny)
    run(monkeypatch, capsys, *train, "--partition", "P1")
    said = run(monkeypatch, capsys, *train, "--partition", "P2", "--resume", code=2)
    assert "was started with partition P1, now P2; leave --partition out" in said.err
    run(monkeypatch, capsys, *train, "--partition", "P1", "--resume")
