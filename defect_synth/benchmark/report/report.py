"""Write the results of a benchmark: `results.json`, `report.md` and one self-contained `report.html`."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import TemplateError

from defect_synth.atomic import replacing
from defect_synth.benchmark.report.markdown import markdown_report
from defect_synth.benchmark.report.page import html_report
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.errors import DataError

FILES = ("results.json", "report.md", "report.html")


def rewrite_report(folder: Path) -> BenchmarkResults:
    """Write the report of `folder/results.json` again, which anybody may have written.

    Raises:
        DataError: The file or a picture is missing, damaged, or its entries contradict each other.
        ConfigError: A field is missing, unknown or out of its range.
        InvalidNameError: A category, a defect or a picture is called what leads out of the folder.
        OutputError: A file cannot be written.
    """
    path = folder / FILES[0]
    results = BenchmarkResults.load(path)
    try:
        write_report(results, folder)
    except (LookupError, ValueError, TypeError, ArithmeticError, StopIteration, RuntimeError, TemplateError) as error:
        what = f"{type(error).__name__}: {str(error)[:100]}"
        raise DataError(f"{path}: its entries do not fit together ({what}); run the benchmark again") from error
    return results


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
