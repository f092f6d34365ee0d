"""Write the results of a benchmark: `results.json`, `report.md` and one self-contained `report.html`."""

from __future__ import annotations

import json
from pathlib import Path

from defect_synth.atomic import replacing
from defect_synth.benchmark.report.markdown import markdown_report
from defect_synth.benchmark.report.page import html_report
from defect_synth.benchmark.results import BenchmarkResults

FILES = ("results.json", "report.md", "report.html")


def write_report(results: BenchmarkResults, folder: Path) -> list[Path]:
    """Write all three files; the page includes the pictures of the gallery, which are read from `folder`.

    Returns:
        Paths of the files.

    Raises:
        OutputError: A file cannot be written.
    """
    texts = (
        json.dumps(results.model_dump(mode="json"), indent=None, separators=(",", ":")) + "\n",
        markdown_report(results),
        html_report(results, folder),
    )
    paths = [folder / name for name in FILES]
    for path, text in zip(paths, texts, strict=True):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths
