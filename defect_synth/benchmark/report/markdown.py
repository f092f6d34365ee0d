"""The report as Markdown."""

from __future__ import annotations

import re

from defect_synth.benchmark.report.tables import (
    about_product,
    generator_origins,
    headline,
    left_out,
    measured_tables,
    published_tables,
    versions,
)
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tables.report_table import ReportTable
from defect_synth.benchmark.tables.summary import categories


def markdown_report(results: BenchmarkResults) -> str:
    """Headline, tables and origins of every category."""
    blocks = [f"# Benchmark `{results.protocol['name']}`", _text(results.protocol["about"])]
    for category in categories(results):
        blocks += [f"## {category}", _text(about_product(results, category)), _bullets(headline(results, category))]
        for table in (*measured_tables(results, category), *published_tables(results, category)):
            blocks += [f"### {_text(table.title)}", _table(table), _text(table.note)]
        origins = generator_origins(results, category)
        if origins:
            blocks += ["### Generators", _bullets([f"{about} (digest `{digest}`)" for about, digest in origins])]
    omissions = left_out(results)
    if omissions:
        blocks += ["## Left out", _bullets(omissions)]
    blocks += ["## Arms", _bullets([f"**{arm.name}**: {arm.about}" for arm in results.arms])]
    return "\n\n".join(block for block in [*blocks, _text(f"Versions: {versions(results)}.")] if block) + "\n"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _text(text: str) -> str:
    """Text in which nothing is taken for HTML: names of arms and notes may hold anything."""
    return re.sub("<(?=[A-Za-z/!?])", "&lt;", text)


def _table(table: ReportTable) -> str:
    align = ["---", *("---:" for _ in table.head[1:])]
    rows = [table.head, tuple(align), *table.rows]
    return "\n".join("| " + " | ".join(_text(cell.replace("|", "\\|")) for cell in row) + " |" for row in rows)
