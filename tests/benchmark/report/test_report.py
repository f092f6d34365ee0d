"""What the reports say, and that a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from defect_synth.benchmark.comparisons import compare_arms, verdict
from defect_synth.benchmark.protocol import load_protocol
from defect_synth.benchmark.report.charts import Bar, Series, confusion_matrix, forest_plot, line_chart
from defect_synth.benchmark.report.gallery import write_gallery
from defect_synth.benchmark.report.page import html_report
from defect_synth.benchmark.report.report import write_report
from defect_synth.benchmark.results import (
    ArmRecord,
    BenchmarkResults,
    Environment,
    GalleryRecord,
    GeneratorRecord,
    ProductRecord,
)
from defect_synth.benchmark.statistics import PairedDifference, wilson_interval
from defect_synth.benchmark.task_results import ClassificationResult
from defect_synth.errors import DataError
from tests.benchmark.squares import squares

ARMS = ("real", "real + standard augmentation", "real + <DFMGAN>")
RIGHT = {"real": 20, "real + standard augmentation": 36, "real + <DFMGAN>": 22}
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def cell(arm: str, right: int, partition: str = "P1", seed: int = 0, **changes) -> ClassificationResult:
    labels = tuple(i % 2 for i in range(40))
    answers = tuple(label if i < right else 1 - label for i, label in enumerate(labels))
    values = dict(
        category="hazelnut", partition=partition, arm=arm, ratio=None if arm == "real" else 1.0, seed=seed, source="",
        synthetic_digest="", num_train=6, num_validation=2, num_synthetic=0 if arm == "real" else 20,
        num_distinct=0 if arm == "real" else 19, num_test=40, steps=10,
        test_names=tuple(f"test/{i}.png" for i in range(40)), seconds=1.0, seconds_of_source=2.0, accuracy=right / 40,
        interval=wilson_interval(right, 40), macro_f1=right / 40, recall={"cut": 0.5, "hole": None},
        confusion=((10, 10), (5, 15)), calibration_error=0.1, classes=("cut", "hole"),
        choice=(0.001, 10, 0.5, 0.5, 0.7), curve=((0.001, 5, 1.0, 0.4, 0.9), (0.001, 10, 0.5, 0.5, 0.7)), labels=labels,
        predictions=answers, probabilities=tuple((0.5, 0.5) for _ in range(40)),
    )  # fmt: skip
    return ClassificationResult(**(values | changes))


def results_of(cells, gallery=()) -> BenchmarkResults:
    return BenchmarkResults(
        protocol=load_protocol("quick").model_dump(mode="json"), weights="",
        environment=Environment(versions={"torch": "2"}, device="cpu", hardware="a & b", cores=2,
                                threads=2, system="x"),
        products=(ProductRecord(category="hazelnut", procedural=True, about="the embedded product", resolution=64,
                                good=5, defects={"cut": 9}),),
        generators=(GeneratorRecord(category="hazelnut", partition="P1", generator="DFMGAN", how="trained",
                                    digest="abcdef0123456789", about="trained here", seconds=5),),
        arms=tuple(ArmRecord(name=arm, about="x", missing={"hazelnut P1": "no time"} if arm == "late" else {})
                   for arm in (*ARMS, "late")),
        classification=tuple(cells), segmentation=(), thresholds=(),
        comparisons=tuple(compare_arms(list(cells), "classification")), gallery=tuple(gallery), notes=(), seconds=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    shown = write_gallery(squares(12, 0, "synthetic"), squares(9, 1, "base"), folder / "gallery" / "a.png")
    record = GalleryRecord(category="hazelnut", partition="P1", arm=ARMS[2], file="gallery/a.png", **shown._asdict())
    cells = [cell(arm, right, partition) for partition in ("P1", "P2") for arm, right in RIGHT.items()]
    cells += [cell(ARMS[2], 24, partition, ratio=3.0) for partition in ("P1", "P2")]
    results = results_of(cells, [record])
    write_report(results, folder)
    return results, folder


def test_gain_is_said_only_where_the_interval_excludes_zero():
    def paired(low, high):
        return PairedDifference((low + high) / 2, low, high, 0.01, 0.001, 1, 2, 50, 48)

    assert verdict(paired(0.01, 0.2), 0.01, 4) == "gain"
    assert verdict(paired(-0.2, -0.01), 0.01, 4) == "loss"
    assert verdict(paired(-0.01, 0.2), 0.001, 4) == "no difference seen, n = 48"
    assert "gain" not in verdict(paired(0.01, 0.2), 0.08, 4)
    assert verdict(paired(0.0, 0.2), 0.01, 4) == "no difference seen, n = 48"


def test_arms_are_compared_with_real_and_generated_ones_with_standard_augmentation(written):
    results, _ = written
    pairs = [(c.arm, c.against) for c in results.comparisons]
    assert pairs == [
        (ARMS[1], "real"), (ARMS[2], "real"), (f"{ARMS[2]}, 3 : 1", "real"),
        (ARMS[2], ARMS[1]), (f"{ARMS[2]}, 3 : 1", ARMS[1]),
    ]  # fmt: skip
    first = results.comparisons[0]
    assert (first.difference, first.images, first.answers, first.partitions) == (pytest.approx(0.4), 40, 80, 2)
    assert first.verdict == "gain"
    assert first.p_holm >= first.p_value
    assert results.comparisons[1].verdict == "no difference seen, n = 40"


def test_cells_with_other_test_images_or_steps_are_not_compared():
    for change in (dict(steps=9), dict(test_names=tuple(f"other/{i}.png" for i in range(40)))):
        with pytest.raises(DataError, match="differ in their test images or steps"):
            compare_arms([cell("real", 20), cell(ARMS[1], 20, **change)], "classification")


def test_the_markdown_has_every_arm_interval_and_the_published_figures(written):
    results, folder = written
    text = (folder / "report.md").read_text()
    assert "| real | 50.0 | 50.0 | 50.0 ± 0.0 |" in text
    for c in results.comparisons:
        assert f"| {c.arm} | {100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}] |" in text
    assert "| DFMGAN | 83.33 | 81.25 | 81.25 |" in text
    assert "Not comparable with ours: MVTec AD there, a procedural product here." in text
    assert "late (hazelnut P1): no time." in text


def test_only_a_significant_gain_is_called_one(written):
    text = (written[1] / "report.md").read_text()
    said = [line for line in text.splitlines() if re.search(r"(\| gain \||points, gain\.)", line)]
    assert said
    assert all(ARMS[1] in line for line in said if "Against" not in line)


def test_the_page_is_whole_and_has_no_foreign_parts(written):
    results, folder = written
    page = (folder / "report.html").read_text()
    for arm in results.arms:
        assert arm.name.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "<DFMGAN>" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert page.count("<svg") == page.count("</svg>") == 1 + 4 + 2 + 1  # forest, confusions, curves, sweep
    assert page.count("<img") == len(results.gallery)
    assert "prefers-color-scheme:dark" in page


def test_every_chart_is_well_formed_and_inside_its_frame():
    charts = [
        forest_plot([Bar("a < b", 3, -2, 8, "+3"), Bar("c", -4, -5, -3, "-4"), Bar("d", 0, 0, 0, "0")], "t"),
        line_chart([Series("a", (1, 2, 5), (0.1, 0.5, 0.3)), Series("b", (1,), (7,))], "t", "x", "y"),
        line_chart([Series("flat", (3,), (2.0,))], "t", "x", "y"),
        confusion_matrix([[3, 0], [1, 9]], ("cut", "hole"), "t"),
    ]
    for chart in charts:
        root = ElementTree.fromstring(chart)
        _, _, width, height = map(float, root.get("viewBox").split())
        for node in root.iter():
            for name, limit in (("x1", width), ("x2", width), ("cx", width), ("y1", height), ("y2", height)):
                if node.get(name) is not None:
                    assert -1e-6 <= float(node.get(name)) <= limit, (name, node.attrib)


def test_the_forest_plot_puts_dots_where_the_values_are():
    root = ElementTree.fromstring(forest_plot([Bar("a", 10, 5, 15, "", "up"), Bar("b", -10, -15, -5, "")], "t"))
    dots = [float(n.get("cx")) for n in root.iter() if n.tag.endswith("circle")]
    zero = next(float(n.get("x1")) for n in root.iter() if n.get("class") == "zero")
    assert dots[0] - zero == pytest.approx(zero - dots[1], abs=0.2)
    assert dots[0] > zero
    kinds = [n.get("class") for n in root.iter() if n.tag.endswith("circle")]
    assert kinds == ["dot up", "dot flat"]


def test_the_gallery_shows_the_nearest_real_image(tmp_path):
    base = squares(9, 1, "base")
    synthetic = squares(9, 5, "synthetic")
    synthetic.images[0] = base.images[6]  # a copy, of the same class
    shown = write_gallery(synthetic, base, tmp_path / "a.png")
    assert shown.defects == ("crack", "crack", "cut", "cut", "hole", "hole")
    assert shown.distances[0] == 0
    assert min(shown.distances[1:]) > 1
    picture = cv2.imread(str(tmp_path / "a.png"))
    tile, nearest = picture[:128, :128], picture[264:392, :128]
    assert np.array_equal(tile, nearest)
    assert not np.array_equal(picture[:128, 132:260], picture[264:392, 132:260])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_every_image_without_a_word_on_its_console(written, tmp_path):
    results, folder = written
    page = html_report(results, folder)
    probe = (
        "<script>addEventListener('load',()=>{const all=[...document.images];document.body.dataset.shown="
        "all.filter(i=>i.complete&&i.naturalWidth>0).length+' of '+all.length;"
        "document.body.dataset.wide=document.documentElement.scrollWidth>innerWidth})</script>"
    )
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"{probe}</body>"), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom",
         "--window-size=1100,900", f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert 'data-shown="1 of 1"' in done.stdout
    assert 'data-wide="false"' in done.stdout
    for c in results.comparisons:
        assert f"{100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]" in done.stdout
