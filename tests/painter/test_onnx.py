"""Painters as ONNX files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from defect_synth.config import override
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import CheckpointError, MissingExtraError
from defect_synth.painter import Painter
from defect_synth.painter.config import PAINT_TINY
from defect_synth.painter.onnx import OnnxPainter
from defect_synth.painter.onnx_export import export_onnx
from defect_synth.painter.train import train_painter
from tests.fake_data import fake_nut, write_mvtec

CONFIG = override(PAINT_TINY, {"backbone.total_kimg": 0.008, "painter.total_kimg": 0.008})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    table = index(write_mvtec(folder, category="nut", defects={"hole": 3, "cut": 3}, good=5, size=64))
    train_painter(table, everything(table, 0.0, 0), CONFIG, folder / "run")
    return folder / "run"


def test_an_exported_painter_paints_the_same(run, tmp_path):
    pytest.importorskip("onnx", reason="torch's exporter needs the package onnx")
    pytest.importorskip("onnxruntime")
    export_onnx(run / "painter" / "model.safetensors", tmp_path)
    ours, theirs = Painter.load(run), OnnxPainter(tmp_path)
    image = fake_nut(np.random.default_rng(0), 64)[0]
    mask = np.zeros((64, 64), np.uint8)
    mask[28:37, 25:38] = 1

    for defect in ours.defects:
        a, b = (p.paint(image, mask, defect, 3).astype(int) for p in (ours, theirs))
        assert np.abs(a - b).max() <= 2
        assert np.array_equal(ours.sample(defect, [1])[0].mask, theirs.sample(defect, [1])[0].mask)


def test_a_missing_package_or_file_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match="onnx"):
        export_onnx(run / "painter" / "model.safetensors", tmp_path)
    with pytest.raises(CheckpointError, match="export a painter"):
        OnnxPainter(tmp_path)


def test_an_exported_painter_needs_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None; "
        "import defect_synth.painter.onnx, defect_synth.painter.region_painting"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
