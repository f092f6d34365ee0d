"""The report as Markdown."""

from __future__ import annotations

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
    blocks = [f"# Benchmark `{results.protocol['name']}`", results.protocol["about"]]
    for category in categories(results):
        blocks += [f"## {category}", about_product(results, category), _bullets(headline(results, category))]
        for table in (*measured_tables(results, category), *published_tables(results, category)):
            blocks += [f"### {table.title}", _table(table), table.note]
        origins = generator_origins(results, category)
        if origins:
            blocks += ["### Generators", _bullets([f"{about} (digest `{digest}`)" for about, digest in origins])]
    omissions = left_out(results)
    if omissions:
        blocks += ["## Left out", _bullets(omissions)]
    blocks += ["## Arms", _bullets([f"**{arm.name}**: {arm.about}" for arm in results.arms])]
    return "\n\n".join(block for block in [*blocks, f"Versions: {versions(results)}."] if block) + "\n"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: ReportTable) -> str:
    align = ["---", *("---:" for _ in table.head[1:])]
    rows = [table.head, tuple(align), *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
