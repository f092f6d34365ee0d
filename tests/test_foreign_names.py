"""Names in every kind of file that we read: what could lead out of a folder is refused everywhere alike."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from defect_synth.baselines.train import open_system
from defect_synth.baselines.translation import TranslationCard
from defect_synth.cli import main
from defect_synth.compositor.bank import bank_from_samples, build_bank
from defect_synth.data.generated import FolderSource
from defect_synth.data.partitions import Partition
from defect_synth.demo.models import shipped_dfmgan, shipped_painter
from defect_synth.dfmgan.checkpoint import DFMGANCard
from defect_synth.dfmgan.config import TINY
from defect_synth.engine.checkpoint import TrainingCard
from defect_synth.errors import DataError, InvalidNameError
from defect_synth.export.generated_folder import generate
from defect_synth.open import open_source
from defect_synth.painter.onnx import HEADER_KEY, PAINTER_FILE, PRODUCT_FILE, OnnxPainter
from defect_synth.samples import DefectSample, Provenance
from tests.fake_data import write_mvtec
from tests.fake_sources import NoiseSource, write_generated

EVIL = ("../PWNED", "/tmp/x", "..", "a/b", "a\\b", "\x1b[2J", "a\nb", "", "\u202ex", "x" * 300)


def recast(source, target, key="defect_synth", **changes):
    """Copy a checkpoint with another card."""
    with safe_open(source, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        (header,) = file.metadata().values()
    save_file(tensors, target, metadata={key: json.dumps(json.loads(header) | changes)})
    return target


@pytest.mark.parametrize("name", EVIL)
def test_cards_hold_names(name):
    for card in (
        lambda: TrainingCard(category=name, method="dfmgan"),
        lambda: TrainingCard(category="nut", method="dfmgan", defect=name),
        lambda: DFMGANCard(kind="dfmgan", model=TINY.model, category="nut", defect=name),
        lambda: DFMGANCard(kind="dfmgan-set", model=TINY.model, category="nut", defects=("hole", name)),
        lambda: TranslationCard(category="nut", method="sdgan", defects=(name,), networks={}),
        lambda: Partition.model_validate(
            {"name": "P1", "seed": 1, "category": name, "defects": {}, "good": {"base": []}}
        ),
        lambda: Provenance.from_json({"method": "x", "category": name, "defect": "hole", "seed": 1}),
        lambda: Provenance.from_json({"method": "x", "category": "nut", "defect": name, "seed": 1}),
    ):
        with pytest.raises(InvalidNameError, match="cannot name a category or a defect") as refused:
            card()
        assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("shipped", "changes"),
    [
        (shipped_painter, {"category": "../PWNED"}),
        (shipped_painter, {"defects": ["../../x", "cut", "hole", "print"]}),
        (shipped_dfmgan, {"category": "/tmp/x"}),
        (shipped_dfmgan, {"defects": ["\x1b[2J", "cut", "hole", "print"]}),
    ],
)
def test_a_checkpoint_writes_nothing_outside_the_output(shipped, changes, tmp_path, monkeypatch, capsys):
    file = recast(shipped(), tmp_path / "evil.safetensors", **changes)
    for command in (("generate", file, "-o", tmp_path / "out" / "g", "--count", "1"), ("info", file),
                    ("bank", file, "-o", tmp_path / "out" / "b", "--count", "1")):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["defect-synth", *map(str, command)])
        with pytest.raises(SystemExit) as stopped:
            main()
        err = capsys.readouterr().err
        assert stopped.value.code == 2
        assert err.startswith(f"error: {file}: '")
        assert "cannot name a category or a defect: " in err
        assert err.count("\n") == 1
        assert err.strip().isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.safetensors"]


def test_an_exported_painter_is_checked(tmp_path):
    (tmp_path / PAINTER_FILE).write_bytes(b"")
    recast(shipped_painter(), tmp_path / PRODUCT_FILE, HEADER_KEY, category="../PWNED")
    with pytest.raises(InvalidNameError, match=r"'\.\./PWNED' cannot name"):
        OnnxPainter(tmp_path)


def test_a_run_folder_is_checked(tmp_path):
    run = {"method": "cutpaste", "category": "../x", "defects": ["hole"], "settings": {}}
    for changes in ({"category": "../x"}, {"category": "nut", "defects": ["/tmp/x"]}):
        values = run | {"method": "finetune", "settings": {"method": "finetune"}} | changes
        (tmp_path / "run.json").write_text(json.dumps(values))
        with pytest.raises(InvalidNameError, match=r"run\.json: '.*' cannot name"):
            open_system(tmp_path, normal=np.zeros((1, 64, 64, 3), np.uint8))
    (tmp_path / "partition.json").write_text(
        json.dumps(
            {"name": "P1", "seed": 1, "category": "nut", "defects": {"../x": {"base": []}}, "good": {"base": []}}
        )
    )
    with pytest.raises(InvalidNameError, match=r"partition\.json: '\.\./x' cannot name"):
        Partition.load(tmp_path / "partition.json")


def test_folders_of_a_run_are_names(tmp_path):
    for name in ("hole", "a\x1b[2Jb"):
        (tmp_path / "defects" / name).mkdir(parents=True)
        shutil.copy(shipped_dfmgan(), tmp_path / "defects" / name / "model.safetensors")
    with pytest.raises(InvalidNameError, match=r"'a\\x1b\[2Jb' cannot name"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"category": "../x"}, r"'\.\./x' cannot name"),
        ({"defect": "/tmp/x"}, "'/tmp/x' cannot name"),
        ({"image": "../../secret.png"}, "'../../secret.png' is not a path inside"),
        ({"mask": "/etc/passwd"}, "'/etc/passwd' is not a path inside"),
        ({"clean": "a\x1b.png"}, "is not a path inside"),
        ({"image": 3}, "must be relative paths"),
        ({"seed": 10**30}, "seed must be an integer from 0"),
        ({"seed": -1}, "seed must be an integer from 0"),
        ({"seed": True}, "seed must be an integer from 0"),
        ({"seed": 1e400}, "seed must be an integer from 0"),
        ({"parameters": [1]}, "parameters must be"),
        ({"parameters": {"a": {"b": 1}}}, "parameter 'a' must be"),
        ({"method": 3}, "'method' must be text"),
        ({"method": "x" * 5000}, "'method' must be text"),
        ({"method": "x" * 100_000}, "longer than 65536 bytes"),
        ({"colour": 3}, "'colour' is unknown"),
    ],
)
def test_lines_of_a_generated_folder_are_checked(changes, expected, tmp_path):
    folder = write_generated(tmp_path, NoiseSource(), {"hole": [0, 1]})
    index = folder / "provenance.jsonl"
    first, second = index.read_text().splitlines()
    index.write_text(first + "\n" + json.dumps(json.loads(second) | changes) + "\n")
    with pytest.raises(DataError, match=rf"provenance\.jsonl, line 2: .*{expected}"):
        FolderSource(folder)


@pytest.mark.parametrize("line", ["[" * 60_000, "[]", "3", "{", '{"seed": ' + "1" * 5000 + "}", "\x00", "caf\xe9"])
def test_a_line_that_is_no_record_is_named(line, tmp_path):
    folder = write_generated(tmp_path, NoiseSource(), {"hole": [0]})
    (folder / "provenance.jsonl").write_bytes(line.encode("latin-1") + b"\n")
    with pytest.raises(DataError, match=r"line 1: not a sample's record \(.*\); generate the folder again"):
        FolderSource(folder)


def test_names_of_a_source_in_python_are_checked_where_they_become_paths(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    mask = np.ones((8, 8), np.uint8)
    for defect, category in (("../x", "nut"), ("hole", "../x")):
        with pytest.raises(InvalidNameError):
            DefectSample(image, mask, defect, Provenance("x", category, defect, 0))

    class Evil(NoiseSource):
        category = "../x"

    for write in (
        lambda: generate(Evil(), tmp_path / "g", count=1),
        lambda: build_bank(Evil(), tmp_path / "b", count=1),
        lambda: bank_from_samples("../x", NoiseSource().sample("hole", [0])),
    ):
        with pytest.raises(InvalidNameError, match=r"'\.\./x' cannot name"):
            write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "\x1b[2J", "..", "CON"])
def test_a_category_on_the_command_line_is_a_name(name, tmp_path, monkeypatch, capsys):
    write_mvtec(tmp_path, category="nut", defects={"hole": 2}, good=3, size=24)
    monkeypatch.setattr(sys, "argv", ["defect-synth", "check", str(tmp_path / "nut"), "--category", name])
    with pytest.raises(SystemExit) as stopped:
        main()
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "cannot name a category or a defect" in err
    assert err.strip().isprintable()
