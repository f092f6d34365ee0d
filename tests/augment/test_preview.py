from __future__ import annotations

import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from defect_synth.augment.image_files import read_image_to_paint
from defect_synth.augment.preview import preview
from defect_synth.cli import app
from defect_synth.demo.hazelnut import render
from defect_synth.errors import DataError, DefectSynthError
from tests.fake_painter import FakePainter


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "nut <1>.png"
    cv2.imwrite(str(path), render(3, 96).image[:, :, ::-1])
    return path


def test_the_sheet_has_a_row_for_each_severity_and_the_page_needs_no_other_file(picture, tmp_path):
    sheet, page = preview([picture], FakePainter(), tmp_path / "out", seeds=2, severities=(0.5, 1.0))
    assert cv2.imread(str(sheet)).shape[:2] == (2 * 228, 3 * 228)
    text = page.read_text()
    assert "nut &lt;1&gt;.png" in text
    assert "http" not in text
    assert text.count("<figure") == 6
    assert text.count('class="over"') == 4
    assert re.findall(r"severity ([\d.]+)<", text) == ["0.5", "1"]
    assert "{" not in text[text.index("<h1>") : text.index("<script>")]


def test_the_page_of_a_large_image_stays_small(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "large.png"), noise)
    _, page = preview([tmp_path / "large.png"], FakePainter(), tmp_path / "out", seeds=1, severities=(1.0,))
    assert page.stat().st_size < 0.5 * (tmp_path / "large.png").stat().st_size


def test_the_page_opens_in_a_browser_without_complaint(picture, tmp_path):
    browser = next((b for b in ("chromium", "chromium-browser", "google-chrome") if shutil.which(b)), None)
    if browser is None:
        pytest.skip("needs a Chromium")
    _, page = preview([picture], FakePainter(), tmp_path / "out", seeds=1, severities=(1.0,))
    run = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         page.as_uri()],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "severity 1" in run.stdout
    assert "CONSOLE" not in run.stderr


def test_paint_writes_the_image_and_its_mask(picture, tmp_path):
    out = tmp_path / "out.png"
    result = CliRunner().invoke(app, ["paint", str(picture), "-o", str(out), "--defect", "hole", "--at", "45,50"])
    assert result.exit_code == 0, result.output
    before, after, mask = cv2.imread(str(picture)), cv2.imread(str(out)), cv2.imread(str(tmp_path / "out_mask.png"), 0)
    assert mask.any()
    np.testing.assert_array_equal(before[mask == 0], after[mask == 0])


def test_a_coloured_png_of_16_bits_is_refused_like_a_grey_one(tmp_path):
    for name, shape in (("grey.png", (32, 32)), ("coloured.png", (32, 32, 3))):
        cv2.imwrite(str(tmp_path / name), np.full(shape, 40_000, np.uint16))
        with pytest.raises(DataError, match="more than 8 bits per channel"):
            read_image_to_paint(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["paint", "IMAGE", "-o", "out.jpg"], "must end in .png"),
        (["paint", "IMAGE", "-o", "OUT", "--at", "here"], "--at must be x,y in pixels"),
        (["paint", "IMAGE", "-o", "OUT", "--at", "9999,3"], "outside the image"),
        (["paint", "IMAGE", "-o", "OUT", "--severity", "3"], r"severity.*1\.5"),
        (["paint", "IMAGE", "-o", "OUT", "--scale", "9"], r"scale.*4"),
        (["paint", "IMAGE", "-o", "OUT", "--defect", "scratch"], "unknown defect 'scratch' for hazelnut"),
        (["paint", "missing.png", "-o", "OUT"], "missing.png does not exist"),
        (["paint", "TEXT", "-o", "OUT"], "text.png: not an image of 8 or 16 bits"),
        (["paint", "IMAGE", "-o", "OUT", "--source", "nowhere"], "nowhere does not exist"),
        (
            ["paint", "IMAGE", "-o", "OUT", "--source", "FOLDER"],
            "folder",
        ),
        (
            ["paint", "IMAGE", "-o", "OUT", "--source", "TEXT"],
            "text.png",
        ),
        (["paint", "IMAGE", "-o", "OUT", "--mask", "SMALL"], "mask is 20x20, but its image .* is 96x96"),
        (["preview", "missing.png"], "missing.png does not exist"),
        (["preview", "IMAGE", "--source", "nowhere"], "nowhere does not exist"),
        (["preview", "IMAGE", "--defects", "scratch"], "unknown defect 'scratch'"),
        (["bank", "nowhere", "-o", "OUT"], "nowhere"),
        (["bank", "FOLDER", "-o", "OUT"], "FOLDER|folder|run"),
        (["bank", "FOLDER", "-o", "OUT", "--real"], "found|no |expected"),
        (["export", "FOLDER", "-o", "OUT"], r"folder has no defects/"),
        (["export", "nowhere", "-o", "OUT"], "nowhere does not exist; expected demo"),
    ],
)
def test_mistakes_are_one_line(picture, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder").mkdir()
    cv2.imwrite(str(tmp_path / "small.png"), np.full((20, 20), 255, np.uint8))
    names = {"IMAGE": str(picture), "OUT": "out.png", "TEXT": "text.png", "FOLDER": "folder", "SMALL": "small.png"}
    result = CliRunner().invoke(app, [names.get(word, word) for word in arguments])
    assert isinstance(result.exception, DefectSynthError), result.output + repr(result.exception)
    text = str(result.exception)
    assert "\n" not in text
    assert re.search(message, text, re.IGNORECASE), text
