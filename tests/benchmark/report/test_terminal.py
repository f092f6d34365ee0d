from __future__ import annotations

import io

from rich.console import Console

from defect_synth.benchmark.report.terminal import print_table
from defect_synth.benchmark.tables.report_table import ReportTable

TABLE = ReportTable("Title [bold]", ("arm", "accuracy"), (("real", "50.0"), ("real + [x]", "7.5")), "A note.")


def test_columns_are_aligned_and_brackets_are_printed():
    out = io.StringIO()
    print_table(TABLE, Console(file=out, width=200))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines == ["Title [bold]", "arm         accuracy", "real            50.0", "real + [x]       7.5", "A note."]
