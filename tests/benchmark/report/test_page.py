"""The page is whole and escaped, and a browser shows it."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from defect_synth.benchmark.report.page import html_report
from tests.benchmark.fake_results import write_example

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return write_example(folder), folder


def test_the_page_is_complete_and_loads_nothing(written):
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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_every_image_without_console_messages(written, tmp_path):
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
