from __future__ import annotations

import re

import pytest

from tests.benchmark.fake_results import ARMS, write_example


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_example(folder), folder


def test_the_markdown_has_every_arm_interval_and_the_published_figures(written):
    results, folder = written
    text = (folder / "report.md").read_text()
    assert "| real | 50.0 | 50.0 | 50.0 ± 0.0 |" in text
    for c in results.comparisons:
        arm = c.arm.replace("<", "&lt;")
        assert f"| {arm} | {100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}] |" in text
    assert "| DFMGAN | 83.33 | 81.25 | 81.25 |" in text
    assert "Not comparable with ours: MVTec AD there, a procedural product here." in text
    assert "late (hazelnut P1): no time." in text


def test_only_a_significant_gain_is_called_one(written):
    text = (written[1] / "report.md").read_text()
    said = [line for line in text.splitlines() if re.search(r"(\| gain \||points, gain\.)", line)]
    assert said
    assert all(ARMS[1] in line for line in said if "Against" not in line)
