"""Tables 1 and 2 of the paper with our figures above the published ones, and what they do not show: copies and cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from defect_synth.benchmark.report.grid import Grid, percent
from defect_synth.benchmark.report.published import Published, published
from defect_synth.benchmark.report.summary import accuracy_lines, quality_of
from defect_synth.benchmark.results import ArmRecord, BenchmarkResults, DefectFigures, QualityCell

OURS = "ours"
_LONG = 1e5  # untrained networks draw images that no feature has seen


def paper_tables(results: BenchmarkResults, category: str) -> list[Grid]:
    """Those of which something was measured."""
    found = [*generation_tables(results, category), accuracy_table(results, category), copies_table(results, category)]
    return [grid for grid in found if grid.rows]


def generation_tables(results: BenchmarkResults, category: str) -> list[Grid]:
    """Table 1 in two: distance to real images, and spread within clusters; published rows where there are any."""
    cells = [cell for cell in results.quality if cell.category == category]
    if not cells:
        return []
    first = cells[0]
    about = (
        f"Mean over {_count(results, cells)}; {first.defects[0].generated} images of each defect or as many as there "
        f"are, whole images, against the base images. {_warning(results, category)}"
    )
    stand_in = "" if first.distance.startswith("KID") else " Without Inception's weights it is not KID: do not compare."
    spread = "" if first.spread.startswith("clustered LPIPS") else " Without LPIPS's weights it is not LPIPS."
    return [
        _table(results, category, f"Table 1, first half: {first.distance}, lower is better", "KID", "KID x1000 @5k",
               lambda f: f.distance, 2, about + stand_in),
        _table(results, category, f"Table 1, second half: {first.spread}, higher is more varied", "LPIPS",
               "clustered LPIPS @1k", lambda f: f.spread, 4, about + spread),
    ]  # fmt: skip


def copies_table(results: BenchmarkResults, category: str) -> Grid:
    """Who copies, how many different images there can be, and what it cost."""
    systems = _systems(results)
    defects = _defects(results, category)
    rows = []
    for arm in systems:
        cells = quality_of(results, category, arm.name)
        if not cells:
            continue
        ratios = [_mean([_of(cell, defect).nearest for cell in cells]) for defect in defects]
        copied = [d for d in defects if all(_surely_nearer(_of(cell, d)) for cell in cells)]
        closer = _mean([f.closer for cell in cells for f in cell.defects])
        # One partition's, and the smallest of them: others may have other counts.
        available = [[f.available for f in cell.defects] for cell in cells]
        counts = [sum(n for n in each if n is not None) for each in available if None not in each]
        rows.append(
            (arm.system, *(_number(ratio, 2) for ratio in ratios), ", ".join(copied) or "-",
             "-" if closer is None else percent(closer), str(min(counts)) if counts else "no limit",
             _training(results, category, arm.system))
        )  # fmt: skip
    return Grid(
        "Copies, variety and cost",
        ("system, ours", *(f"nearest {defect}" for defect in defects), "surely nearer", "nearer than any unseen, %",
         "different images", "training, s"),
        tuple(rows),
        "Nearest: median distance of generated images to the nearest base image, over that of unseen real ones: about "
        "1 for new images, near 0 for copies. Surely nearer: defects where the 95 % interval of that ratio lies below "
        "1 in every partition. Training: wall time of one partition's.",
    )  # fmt: skip


def accuracy_table(results: BenchmarkResults, category: str) -> Grid:
    """Table 2: classifiers that learnt from nothing but generated images."""
    lines = {line.arm: line for line in accuracy_lines(results, category)}
    names = list(dict.fromkeys(cell.partition for cell in results.classification if cell.category == category))
    printed = published(category, "classification")
    rows: list[tuple[str, ...]] = []
    for arm in _systems(results):
        line = lines.get(arm.name)
        values = ("-",) * (len(names) + 1)
        if line is not None:
            by_partition = (percent(line.partitions[n]) if n in line.partitions else "-" for n in names)
            values = (*by_partition, percent(line.mean.mean))
        rows.append((arm.system, OURS, *values))
        theirs = [entry for entry in printed if entry.method == arm.system]
        if theirs:
            rows.append(("", "published", *_accuracies(max(theirs, key=lambda e: len(e.figures)), names)))
    return Grid(
        "Table 2: accuracy, %, of a classifier trained on generated images alone",
        ("system", "", *names, "mean"),
        tuple(rows) if any(arm.name in lines for arm in _systems(results)) else (),
        f"Our partitions are other draws than the paper's, whose images are not listed. {_warning(results, category)}",
    )


def _table(
    results: BenchmarkResults,
    category: str,
    title: str,
    kind: str,
    theirs: str,
    figure: Callable[[DefectFigures], float | None],
    digits: int,
    note: str,
) -> Grid:
    defects = _defects(results, category)
    printed = {entry.method: _by_defect(entry, kind) for entry in published(category, "generation")}
    rows: list[tuple[str, ...]] = []
    for arm in _systems(results):
        cells = quality_of(results, category, arm.name)
        values = [_mean([figure(_of(cell, defect)) for cell in cells]) for defect in defects]
        whose = OURS if f"{kind} " in title else f"{OURS}, a stand-in"
        rows.append((arm.system, whose, *(_number(value, digits) for value in (*values, _mean(values)))))
        if arm.system in printed:
            known = [printed[arm.system].get(defect) for defect in defects]
            values_of = (_number(value, digits) for value in (*known, _mean(known)))
            rows.append(("", f"published: {theirs}", *values_of))
    return Grid(title, ("system", "", *defects, "mean"), tuple(rows), note)


def _systems(results: BenchmarkResults) -> list[ArmRecord]:
    """Arms of the paper's tables, in the order of the arms."""
    return [arm for arm in results.arms if arm.system]


def _defects(results: BenchmarkResults, category: str) -> list[str]:
    cells = [cell for cell in results.quality if cell.category == category]
    return list(dict.fromkeys(figures.defect for cell in cells for figures in cell.defects))


def _of(cell: QualityCell, defect: str) -> DefectFigures:
    return next(figures for figures in cell.defects if figures.defect == defect)


def _surely_nearer(figures: DefectFigures) -> bool:
    return figures.nearest_high is not None and figures.nearest_high < 1


def _by_defect(entry: Published, kind: str) -> dict[str, float | None]:
    """Defect -> figure of a kind; the last word of a measure is its defect."""
    pairs = zip(entry.measures, entry.figures, strict=True)
    return {measure.split()[-1]: figure for measure, figure in pairs if kind in measure}


def _accuracies(entry: Published, names: Sequence[str]) -> tuple[str, ...]:
    """Cells of a published row: one figure is a mean, more are partitions named in their measures."""
    if len(entry.figures) == 1:
        return (*("-" for _ in names), _number(entry.figures[0], 2))
    pairs = zip(entry.measures, entry.figures, strict=True)
    found = {name: figure for measure, figure in pairs for name in names if name in measure.replace(",", "").split()}
    return (*(_number(found.get(name), 2) for name in names), _number(_mean(list(entry.figures)), 2))


def _training(results: BenchmarkResults, category: str, system: str) -> str:
    records = [g for g in results.generators if g.category == category and g.generator == system]
    if not records:
        return "0"
    if any(record.how != "trained" for record in records):
        return records[0].how
    return f"{sum(record.seconds for record in records) / len(records):.0f}"


def _count(results: BenchmarkResults, cells: Sequence[QualityCell]) -> str:
    count = len({cell.partition for cell in cells})
    return f"{count} partition{'' if count == 1 else 's'}"


def _warning(results: BenchmarkResults, category: str) -> str:
    product = next(product for product in results.products if product.category == category)
    if product.procedural:
        return "Published: MVTec AD; ours: a procedural product. The two rows are not comparable."
    return f"Published: 256 px and the authors' schedules; ours: {product.resolution} px and the protocol's."


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if abs(value) < _LONG else f"{value:.2g}"
