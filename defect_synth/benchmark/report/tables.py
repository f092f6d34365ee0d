"""Every table of the report, and the sentences above them; Markdown and HTML only format them."""

from __future__ import annotations

from defect_synth.benchmark.arms import REAL
from defect_synth.benchmark.results import BenchmarkResults
from defect_synth.benchmark.tables.published import published
from defect_synth.benchmark.tables.report_table import ReportTable, difference_in_points, percent
from defect_synth.benchmark.tables.summary import accuracy_summaries, mean_of, probe_summaries
from defect_synth.benchmark.tasks.all_tasks import TASKS


def measured_tables(results: BenchmarkResults, category: str) -> list[ReportTable]:
    """The tables of all tasks and of the cost, as far as they have content."""
    tables = [table for task in TASKS for table in task.tables(results, category)]
    return [table for table in (*tables, cost_table(results, category)) if table.rows]


def cost_table(results: BenchmarkResults, category: str) -> ReportTable:
    """Wall time of each arm."""
    rows = []
    for summary in accuracy_summaries(results, category):
        first_of_partition = {result.partition: result for result in reversed(summary.results)}
        source = sum(result.seconds_of_source for result in first_of_partition.values())
        rows.append((summary.arm, f"{source:.1f}", f"{mean_of(summary.results, 'seconds'):.1f}"))
    trained = sum(generator.seconds for generator in results.generators if generator.category == category)
    environment = results.environment
    note = (
        f"On {environment.hardware}, {environment.cores} cores, {environment.threads} threads, {environment.device}. "
        f"Generators were trained for {trained:.0f} s in all; that time is counted for the arm that needed one first. "
        f"The whole benchmark took {results.seconds:.0f} s."
    )
    return ReportTable("Cost, seconds", ("arm", "source and images", "one classifier"), tuple(rows), note)


def published_tables(results: BenchmarkResults, category: str) -> list[ReportTable]:
    """Published results for a category of this name, one table for each publication."""
    tables = []
    warning = (
        "Not comparable with ours: MVTec AD there, a procedural product here."
        if results.product(category).procedural
        else "The training and, above all, the choice of the epoch differ: read the setting before comparing."
    )
    for task in ("classification", "segmentation"):
        entries = published(category, task)
        for key in dict.fromkeys((e.publication, e.table, e.setting, e.measures) for e in entries):
            publication, table, setting, measures = key
            rows = tuple(
                (e.method, *("-" if f is None else f"{f:g}" for f in e.figures))
                for e in entries if (e.publication, e.table, e.setting, e.measures) == key
            )  # fmt: skip
            title = f"Published, not ours: {publication}, {table}"
            tables.append(ReportTable(title, ("method", *measures), rows, f"{setting} {warning}"))
    return tables


def headline(results: BenchmarkResults, category: str) -> list[str]:
    """One sentence for each comparison with the arm `real`, in the order of the arms."""
    accuracies = {summary.arm: summary.mean.mean for summary in accuracy_summaries(results, category)}
    probed = {summary.arm: summary.mean.mean for summary in probe_summaries(results, category)}
    lines = []
    if REAL in accuracies:
        lines.append(f"Real images alone: {percent(accuracies[REAL])} % accuracy.")
    lines += _differences(results, category, "classification")
    if REAL in probed:
        lines.append(f"Linear probe, real images alone: {percent(probed[REAL])} % accuracy.")
    return lines + [f"Linear probe, {line}" for line in _differences(results, category, "probe")]


def _differences(results: BenchmarkResults, category: str, task: str) -> list[str]:
    return [
        f"{c.arm}: {difference_in_points(c)} points, {c.verdict}."
        for c in results.comparisons
        if c.category == category and c.against == REAL and c.task == task
    ]


def left_out(results: BenchmarkResults) -> list[str]:
    """Arms that did not run, or not in every task, with the reason; and the notes."""
    lines = []
    for arm in results.arms:
        lines += [f"{arm.name} ({task}): {reason}." for task, reason in arm.absent.items()]
        for reason in dict.fromkeys(arm.missing.values()):
            where = [place for place, why in arm.missing.items() if why == reason]
            lines.append(f"{arm.name} ({', '.join(where)}): {reason}.")
    return [*lines, *results.notes]


def generator_origins(results: BenchmarkResults, category: str) -> list[tuple[str, str]]:
    """(where a generator came from, the first digits of its digest)."""
    return [
        (f"{g.generator} of {g.partition}: {g.about}", g.digest[:12])
        for g in results.generators
        if g.category == category
    ]


def about_product(results: BenchmarkResults, category: str) -> str:
    """One sentence about the images of a category."""
    product = results.product(category)
    return f"{product.about[0].upper()}{product.about[1:]}; {product.resolution} px."


def versions(results: BenchmarkResults) -> str:
    """Names and versions of the libraries."""
    return ", ".join(f"{name} {version}" for name, version in results.environment.versions.items())
