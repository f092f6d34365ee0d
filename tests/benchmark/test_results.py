"""`results.json` of somebody else: nothing outside its folder is shown, and whatever is wrong is one line."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

import pytest

from defect_synth.benchmark.report.report import rewrite_report
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.cli import main
from defect_synth.errors import DataError, DefectSynthError, InvalidNameError
from tests.benchmark.fake_results import write_example


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "results"
    write_example(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "results")


def change(folder, value, *where):
    """Set one value of `results.json`; `...` removes it."""
    path = folder / "results.json"
    values = json.loads(path.read_text())
    node = values
    for key in where[:-1]:
        node = node[key]
    if value is ...:
        del node[where[-1]]
    else:
        node[where[-1]] = value
    path.write_text(json.dumps(values))


def refused(folder, monkeypatch, capsys):
    """The one line of `benchmark --report-only`; no page is left that shows the results."""
    for name in ("report.html", "report.md"):
        (folder / name).unlink()
    monkeypatch.setattr(sys, "argv", ["defect-synth", "benchmark", "--report-only", "-o", str(folder)])
    with pytest.raises(SystemExit) as stopped:
        main()
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.strip().isprintable()
    assert not (folder / "report.html").exists()
    return err


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../secret.png", "gallery/../../secret.png", "C:\\secret.png", "a\x1b[2J.png", "", "."]
)
def test_a_picture_elsewhere_is_not_shown(file, folder, monkeypatch, capsys):
    shutil.copy(folder / "gallery" / "a.png", folder.parent / "secret.png")
    change(folder, file, "gallery", 0, "file")
    with pytest.raises(InvalidNameError):
        BenchmarkResults.load(folder / "results.json")
    assert "is not a path inside this folder" in refused(folder, monkeypatch, capsys)


def test_a_link_out_of_the_folder_is_not_followed(folder, monkeypatch, capsys):
    (folder / "gallery" / "a.png").rename(folder.parent / "secret.png")
    (folder / "gallery" / "a.png").symlink_to(folder.parent / "secret.png")
    assert "gallery/a.png leads out of" in refused(folder, monkeypatch, capsys)


@pytest.mark.parametrize("content", [b"root:x:0:0", b"", b"\x89PNG\r\n\x1a\n" + bytes(9 << 20)])
def test_what_is_no_picture_is_not_shown(content, folder, monkeypatch, capsys):
    (folder / "gallery" / "a.png").write_bytes(content)
    assert "a.png" in refused(folder, monkeypatch, capsys)
    (folder / "gallery" / "a.png").unlink()
    os.mkfifo(folder / "gallery" / "a.png")
    with pytest.raises(DataError, match="is a FIFO, expected a file"):
        rewrite_report(folder)


FAULTS = {
    "category is a path": ("../x", "products", 0, "category"),
    "category of a result": ("/tmp/x", "classification", 0, "category"),
    "defect is a path": ({"../x": 3}, "products", 0, "defects"),
    "resolution of 10^30": (10**30, "products", 0, "resolution"),
    "about of nothing": ("", "products", 0, "about"),
    "category twice": (
        [{"category": "nut", "procedural": True, "about": "x", "resolution": 1, "good": 1, "defects": {}}] * 2,
        "products",
    ),
    "accuracy NaN": (float("nan"), "classification", 0, "accuracy"),
    "accuracy 7": (7, "classification", 0, "accuracy"),
    "macro F1 infinite": (float("inf"), "classification", 0, "macro_f1"),
    "negative count": (-1, "classification", 0, "num_synthetic"),
    "seconds 1e300": (1e300, "seconds"),
    "seconds NaN": (float("nan"), "classification", 0, "seconds"),
    "ratio 0": (0, "classification", 1, "ratio"),
    "labels empty": ([], "classification", 0, "labels"),
    "labels beyond the classes": ([9] * 40, "classification", 0, "labels"),
    "classes empty": ([], "classification", 0, "classes"),
    "classes 10^5": (["c"] * 10**5, "classification", 0, "classes"),
    "recall of others": ({"dent": 1.0}, "classification", 0, "recall"),
    "confusion empty": ([], "classification", 0, "confusion"),
    "confusion ragged": ([[1], [1, 2]], "classification", 0, "confusion"),
    "curve empty": ([], "classification", 0, "curve"),
    "test names missing": ([], "classification", 0, "test_names"),
    "difference NaN": (float("nan"), "comparisons", 0, "difference"),
    "difference 1e308": (1e308, "comparisons", 0, "high"),
    "images -1": (-1, "comparisons", 0, "images"),
    "distances missing": ([], "gallery", 0, "distances"),
    "typical infinite": (float("inf"), "gallery", 0, "typical"),
    "arms 10^4": ([{"name": "x", "about": "x", "missing": {}}] * 10**4, "arms"),
    "protocol empty": ({}, "protocol"),
    "classifier a number": (3, "protocol", "classifier"),
    "classifier without batch": (..., "protocol", "classifier", "batch"),
    "learning rates a text": ("x", "protocol", "classifier", "learning_rates"),
    "seeds of 10^30": (10**30, "protocol", "seeds"),
    "format 7": (7, "format"),
    "unknown field": (1, "colour"),
    "generators of many partitions": (
        [
            {
                "category": "nut",
                "partition": f"P{i}",
                "generator": "x",
                "how": "x",
                "digest": "",
                "about": "x",
                "seconds": 1,
            }
            for i in range(1001)
        ],
        "generators",
    ),
    "hardware a list": ([], "environment", "hardware"),
    "probe without its settings": ([{}], "probe"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_is_out_of_range_is_one_line(case, folder, monkeypatch, capsys):
    value, *where = FAULTS[case]
    change(folder, value, *where)
    refused(folder, monkeypatch, capsys)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 10**5, '{"a": ' + "1" * 10**4 + "}", "\x00", "null"])
def test_what_is_no_json_or_no_results_is_one_line(text, folder, monkeypatch, capsys):
    (folder / "results.json").write_text(text)
    assert "results.json" in refused(folder, monkeypatch, capsys) or text in ("[]", "null")


def test_text_is_shown_without_what_steers_a_terminal_or_breaks_a_table(folder, monkeypatch, capsys):
    evil = "\x1b[2Ja|b\n# <script>x</script>\u202e"
    for where in (("arms", 3, "name"), ("products", 0, "about"), ("notes",), ("generators", 0, "about"),
                  ("comparisons", 0, "verdict"), ("environment", "hardware"), ("protocol", "about")):  # fmt: skip
        change(folder, [evil] if where == ("notes",) else evil, *where)
    monkeypatch.setattr(sys, "argv", ["defect-synth", "benchmark", "--report-only", "-o", str(folder)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    said = capsys.readouterr().out
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for shown in (said, page, text):
        assert "\\x1b[2Ja" in shown
        assert not {"\x1b", "\u202e"} & set(shown)
        assert "\n# <script" not in shown
    assert "<script>" not in page
    assert "<script>" not in text
    assert "| \\x1b[2Ja\\|b\\n# &lt;script>" in text or "a\\|b" in text


def test_a_large_file_takes_neither_memory_nor_time(folder):
    (folder / "results.json").write_bytes(b" " * (40 << 20))
    started = time.monotonic()
    with pytest.raises(DataError, match="larger than 24 MiB"):
        rewrite_report(folder)
    assert time.monotonic() - started < 5


def test_a_loss_that_diverged_is_still_reported(folder):
    change(folder, [[0.001, 5, float("nan"), 0.4, 0.9], [0.001, 10, 0.5, 0.5, 0.7]], "classification", 0, "curve")
    results = rewrite_report(folder)
    assert results.classification[0].curve[0].train_loss != results.classification[0].curve[0].train_loss
    assert "Training loss" in (folder / "report.html").read_text()


def test_the_same_report_is_written_again(whole, folder):
    rewrite_report(folder)
    for name in ("results.json", "report.md", "report.html"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_categories_of_a_request_are_names(tmp_path):
    from defect_synth.benchmark.request import BenchmarkRequest

    with pytest.raises(DefectSynthError, match=r"'\.\./x' cannot name"):
        BenchmarkRequest(categories=("../x",), output=tmp_path)
