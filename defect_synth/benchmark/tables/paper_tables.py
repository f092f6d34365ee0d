"""Tables 1 and 2 of the paper with our figures above the published ones, and a table of copies, variety and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from defect_synth.benchmark.results import ArmRecord, BenchmarkResults
from defect_synth.benchmark.tables.published import PublishedFigures, published
from defect_synth.benchmark.tables.report_table import ReportTable, number, percent, plural
from defect_synth.benchmark.tables.summary import accuracy_summaries, quality_of
from defect_synth.benchmark.task_results import DefectFigures, QualityResult

OURS = "ours"


def paper_tables(results: BenchmarkResults, category: str) -> list[ReportTable]:
    """Those tables of which something was measured."""
    tables = [
        *generation_tables(results, category),
        accuracy_table(results, category),
        copies_table(results, category),
    ]
    return [table for table in tables if table.rows]


class _Half(NamedTuple):
    """One half of Table 1.

    Attributes:
        title: Title of the table.
        kind: How the published measures of this half are called.
        published_as: The same for a cell.
        figure: Our figure of one defect.
        digits: Digits after the point.
    """

    title: str
    kind: str
    published_as: str
    figure: Callable[[DefectFigures], float | None]
    digits: int


def generation_tables(results: BenchmarkResults, category: str) -> list[ReportTable]:
    """Table 1 in two halves: distance to real images, and spread within clusters."""
    measured = [result for result in results.quality if result.category == category]
    if not measured:
        return []
    first = measured[0]
    partitions = plural(len({result.partition for result in measured}), "partition")
    about = (
        f"Mean over {partitions}; {first.defects[0].generated} whole images of each defect, or as many as there are, "
        f"against the base images. {_warning(results, category)}"
    )
    not_kid = "" if first.distance.startswith("KID") else " Without Inception's weights it is not KID: do not compare."
    not_lpips = "" if first.spread.startswith("clustered LPIPS") else " Without LPIPS's weights it is not LPIPS."
    distance = _Half(f"Table 1, first half: {first.distance}, lower is better", "KID", "KID x1000 @5k",
                     lambda figures: figures.distance, 2)  # fmt: skip
    spread = _Half(f"Table 1, second half: {first.spread}, higher is more varied", "LPIPS", "clustered LPIPS @1k",
                   lambda figures: figures.spread, 4)  # fmt: skip
    return [
        _generation_table(results, category, distance, about + not_kid),
        _generation_table(results, category, spread, about + not_lpips),
    ]


def copies_table(results: BenchmarkResults, category: str) -> ReportTable:
    """Which systems copy, how many different images they can make, and what their training costs."""
    defects = _defects(results, category)
    rows = []
    for arm in _systems(results):
        measured = quality_of(results, category, arm.name)
        if not measured:
            continue
        ratios = [_mean([_figures_of(result, defect).nearest for result in measured]) for defect in defects]
        copied = [d for d in defects if all(_surely_nearer(_figures_of(result, d)) for result in measured)]
        closer = _mean([figures.closer for result in measured for figures in result.defects])
        # Of one partition, and the smallest of them: other partitions may have other counts.
        available = [[figures.available for figures in result.defects] for result in measured]
        counts = [sum(n for n in each if n is not None) for each in available if None not in each]
        rows.append(
            (arm.system, *(number(ratio, 2) for ratio in ratios), ", ".join(copied) or "-",
             "-" if closer is None else percent(closer), str(min(counts)) if counts else "no limit",
             _training_time(results, category, arm.system))
        )  # fmt: skip
    head = ("system, ours", *(f"nearest {defect}" for defect in defects), "surely nearer", "nearer than any unseen, %",
            "different images", "training, s")  # fmt: skip
    note = (
        "Nearest: median distance of generated images to the nearest base image, divided by that of unseen real "
        "images: about 1 for new images, near 0 for copies. Surely nearer: defects for which the 95 % interval of that "
        "ratio lies below 1 in every partition. Training: wall time in one partition."
    )
    return ReportTable("Copies, variety and cost", head, tuple(rows), note)


def accuracy_table(results: BenchmarkResults, category: str) -> ReportTable:
    """Table 2: classifiers trained on nothing but generated images."""
    summaries = {summary.arm: summary for summary in accuracy_summaries(results, category)}
    names = list(dict.fromkeys(result.partition for result in results.classification if result.category == category))
    all_published = published(category, "classification")
    rows: list[tuple[str, ...]] = []
    for arm in _systems(results):
        summary = summaries.get(arm.name)
        values = ["-"] * (len(names) + 1)
        if summary is not None:
            values = [*summary.percents(names), percent(summary.mean.mean)]
        rows.append((arm.system, OURS, *values))
        theirs = [entry for entry in all_published if entry.method == arm.system]
        if theirs:
            rows.append(("", "published", *_published_accuracies(max(theirs, key=lambda e: len(e.figures)), names)))
    return ReportTable(
        "Table 2: accuracy, %, of a classifier trained on generated images alone",
        ("system", "", *names, "mean"),
        tuple(rows) if any(arm.name in summaries for arm in _systems(results)) else (),
        "Our partitions are drawn differently from the paper's, which does not list its images. "
        f"{_warning(results, category)}",
    )


def _generation_table(results: BenchmarkResults, category: str, half: _Half, note: str) -> ReportTable:
    defects = _defects(results, category)
    all_published = {entry.method: _by_defect(entry, half.kind) for entry in published(category, "generation")}
    rows: list[tuple[str, ...]] = []
    for arm in _systems(results):
        measured = quality_of(results, category, arm.name)
        values = [_mean([half.figure(_figures_of(result, defect)) for result in measured]) for defect in defects]
        whose = OURS if f"{half.kind} " in half.title else f"{OURS}, a stand-in"
        rows.append((arm.system, whose, *(number(value, half.digits) for value in (*values, _mean(values)))))
        if arm.system in all_published:
            theirs = [all_published[arm.system].get(defect) for defect in defects]
            cells = (number(value, half.digits) for value in (*theirs, _mean(theirs)))
            rows.append(("", f"published: {half.published_as}", *cells))
    return ReportTable(half.title, ("system", "", *defects, "mean"), tuple(rows), note)


def _systems(results: BenchmarkResults) -> list[ArmRecord]:
    """Arms of the paper's tables, in the order of the arms."""
    return [arm for arm in results.arms if arm.system]


def _defects(results: BenchmarkResults, category: str) -> list[str]:
    measured = [result for result in results.quality if result.category == category]
    return list(dict.fromkeys(figures.defect for result in measured for figures in result.defects))


def _figures_of(result: QualityResult, defect: str) -> DefectFigures:
    return next(figures for figures in result.defects if figures.defect == defect)


def _surely_nearer(figures: DefectFigures) -> bool:
    return figures.nearest_high is not None and figures.nearest_high < 1


def _by_defect(entry: PublishedFigures, kind: str) -> dict[str, float | None]:
    """Defect -> published figure of one kind; the last word of a measure is its defect."""
    pairs = zip(entry.measures, entry.figures, strict=True)
    return {measure.split()[-1]: figure for measure, figure in pairs if kind in measure}


def _published_accuracies(entry: PublishedFigures, names: Sequence[str]) -> tuple[str, ...]:
    """Cells of a published row: a single figure is a mean, several belong to the partitions named in the measures."""
    if len(entry.figures) == 1:
        return (*("-" for _ in names), number(entry.figures[0], 2))
    pairs = zip(entry.measures, entry.figures, strict=True)
    found = {name: figure for measure, figure in pairs for name in names if name in measure.replace(",", "").split()}
    return (*(number(found.get(name), 2) for name in names), number(_mean(list(entry.figures)), 2))


def _training_time(results: BenchmarkResults, category: str, system: str) -> str:
    records = [g for g in results.generators if g.category == category and g.generator == system]
    if not records:
        return "0"
    if any(record.how != "trained" for record in records):
        return records[0].how
    return f"{sum(record.seconds for record in records) / len(records):.0f}"


def _warning(results: BenchmarkResults, category: str) -> str:
    product = results.product(category)
    if product.procedural:
        return "Published: MVTec AD; ours: a procedural product. The two rows are not comparable."
    return f"Published: 256 px and the authors' schedules; ours: {product.resolution} px and the protocol's schedules."


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
