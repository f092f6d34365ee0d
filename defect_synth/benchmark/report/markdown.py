"""The report as Markdown."""

from __future__ import annotations

from defect_synth.benchmark.report.grid import Grid
from defect_synth.benchmark.report.summary import categories
from defect_synth.benchmark.report.tables import headline, missing_arms, tables
from defect_synth.benchmark.results import BenchmarkResults


def markdown_report(results: BenchmarkResults) -> str:
    """Headline, tables and origins of every category."""
    blocks = [f"# Benchmark `{results.protocol['name']}`", results.protocol["about"]]
    for category in categories(results):
        product = next(p for p in results.products if p.category == category)
        blocks += [f"## {category}", f"{product.about[0].upper()}{product.about[1:]}; {product.resolution} px."]
        blocks.append("\n".join(f"- {line}" for line in headline(results, category)))
        for grid in tables(results, category):
            blocks += [f"### {grid.title}", _table(grid)]
            if grid.note:
                blocks.append(grid.note)
        origins = [g for g in results.generators if g.category == category]
        if origins:
            blocks.append("### Generators")
            blocks.append(
                "\n".join(f"- {g.generator} of {g.partition}: {g.about} (digest `{g.digest[:12]}`)" for g in origins)
            )
    left_out = [*missing_arms(results), *results.notes]
    if left_out:
        blocks += ["## Left out", "\n".join(f"- {line}" for line in left_out)]
    versions = ", ".join(f"{name} {version}" for name, version in results.environment.versions.items())
    blocks += ["## Arms", "\n".join(f"- **{arm.name}**: {arm.about}" for arm in results.arms), f"Versions: {versions}."]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _table(grid: Grid) -> str:
    align = ["---", *("---:" for _ in grid.head[1:])]
    rows = [grid.head, tuple(align), *grid.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
