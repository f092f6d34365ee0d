"""Every table of the report as plain rows of text; Markdown and HTML only dress them."""

from __future__ import annotations

from collections.abc import Sequence

from defect_synth.benchmark.arms import REAL
from defect_synth.benchmark.report.grid import Grid, percent
from defect_synth.benchmark.report.paper_tables import paper_tables
from defect_synth.benchmark.report.published import published
from defect_synth.benchmark.report.summary import accuracy_lines, mean_of, mean_recall, probe_lines, segmentation_lines
from defect_synth.benchmark.results import BenchmarkResults, ClassificationCell, Comparison, ProbeCell

COMPARED = {
    "classification": "accuracy",
    "probe": "accuracy of the linear probe",
    "segmentation": "IoU per image",
}
"""Task -> the figure by which arms are compared."""

ONE_TRAINING = (
    " Each network was trained once: the intervals cover other test images, not another training, which may move any "
    "difference by several points. Believe none before --seeds 3 or more shows it too."
)


def tables(results: BenchmarkResults, category: str) -> list[Grid]:
    """All tables of a category that have content."""
    found = [
        classification_table(results, category),
        *comparison_tables(results, category),
        recall_table(results, category),
        probe_table(results, category),
        *paper_tables(results, category),
        segmentation_table(results, category),
        threshold_table(results, category),
        cost_table(results, category),
        *published_tables(results, category),
    ]
    return [grid for grid in found if grid.rows]


def classification_table(results: BenchmarkResults, category: str) -> Grid:
    """Accuracy for each partition, and the other figures over all of them."""
    lines = accuracy_lines(results, category)
    names = list(dict.fromkeys(name for line in lines for name in line.partitions))
    rows = []
    for line in lines:
        mean = percent(line.mean.mean) + ("" if line.mean.std is None else f" ± {100 * line.mean.std:.1f}")
        by_partition = (percent(line.partitions[n]) if n in line.partitions else "-" for n in names)
        rows.append(
            (line.arm, *by_partition, mean, percent(mean_of(line.cells, "macro_f1")),
             percent(mean_of(line.cells, "calibration_error")), _count(line.cells, "num_synthetic"),
             _count(line.cells, "num_distinct"))
        )  # fmt: skip
    cells = [cell for line in lines for cell in line.cells]
    note = ""
    if cells:
        classifier, first = results.protocol["classifier"], cells[0]
        start = "from scratch" if not results.weights else f"starting from {classifier['weights']}"
        if not first.num_validation:
            chosen = "last step scored, the base set being too small for a validation part"
        elif classifier["evaluations"] == 1 and len(classifier["learning_rates"]) == 1:
            chosen = "last step scored, nothing chosen"
        else:
            chosen = (
                "step and learning rate chosen by balanced accuracy on the validation part of the base set, in every "
                "orientation"
            )
        assert isinstance(first, ClassificationCell)
        note = (
            f"Accuracy in % on untouched real images, mean over {_plural(results.protocol['seeds'], 'training seed')}; "
            f"mean ± standard deviation over partitions. {classifier['architecture']} {start}, "
            f"{results.products[0].resolution} px, {first.steps} steps of {classifier['batch']} images in every arm; "
            f"{chosen}. Real images: {_range(cells, 'num_train')} train, {_range(cells, 'num_validation')} validation, "
            f"{_range(cells, 'num_test')} test; chance is {percent(1 / len(first.classes))}."
        )
    head = ("arm", *names, "mean", "macro-F1", "ECE", "generated", "distinct")
    return Grid("Classification", head, tuple(rows), note)


def comparison_tables(results: BenchmarkResults, category: str) -> list[Grid]:
    """Paired differences with their verdicts, by task and reference."""
    found = []
    for task, figure in COMPARED.items():
        mine = [c for c in results.comparisons if c.category == category and c.task == task]
        for against in dict.fromkeys(c.against for c in mine):
            rows = tuple(
                (c.arm, interval(c), p_value(c.p_value), p_value(c.p_holm), c.verdict, needed(c))
                for c in mine if c.against == against
            )  # fmt: skip
            first = next(c for c in mine if c.against == against)
            found.append(
                Grid(
                    f"Against {against}: {figure}",
                    ("arm", "difference in points [95 %]", "p", "p (Holm)", "verdict", "partitions needed"),
                    rows,
                    f"Paired on the same {first.images} test images ({first.answers} answers); the bootstrap resamples "
                    "images, so that answers about one image from several partitions or seeds count as one. p: signs "
                    "of whole images flipped at random. 'gain' and 'loss' need an interval without 0 and p (Holm) "
                    "< 0.05. Partitions needed: to show such a difference four times out of five, if it is real."
                    + (ONE_TRAINING if first.answers == first.images and task != "probe" else ""),
                )
            )
    return found


def recall_table(results: BenchmarkResults, category: str) -> Grid:
    """Share of each class that was recognised."""
    lines = accuracy_lines(results, category)
    rows: list[tuple[str, ...]] = []
    classes: tuple[str, ...] = ()
    for line in lines:
        cells = [cell for cell in line.cells if isinstance(cell, ClassificationCell)]
        recall = mean_recall(cells)
        classes = tuple(recall)
        rows.append((line.arm, *("-" if value is None else percent(value) for value in recall.values())))
    return Grid("Recall of each class, %", ("arm", *classes), tuple(rows))


def probe_table(results: BenchmarkResults, category: str) -> Grid:
    """Accuracy of the linear probe."""
    lines = probe_lines(results, category)
    names = list(dict.fromkeys(name for line in lines for name in line.partitions))
    rows: list[tuple[str, ...]] = []
    classes: tuple[str, ...] = ()
    note = ""
    for line in lines:
        cells = [cell for cell in line.cells if isinstance(cell, ProbeCell)]
        recall = mean_recall(cells)
        classes = tuple(recall)
        mean = percent(line.mean.mean) + ("" if line.mean.std is None else f" ± {100 * line.mean.std:.1f}")
        by_partition = (percent(line.partitions[n]) if n in line.partitions else "-" for n in names)
        rows.append(
            (line.arm, *by_partition, mean, percent(mean_of(cells, "macro_f1")),
             *("-" if value is None else percent(value) for value in recall.values()))
        )  # fmt: skip
        note = (
            f"Accuracy in %; one linear layer on {cells[0].network}, frozen; weight decay "
            f"{results.protocol['probe']['weight_decay']:g}, all orientations of the real images. Its loss is convex: "
            "no step, rate or training seed to choose. Columns on the right: recall of each class."
        )
    return Grid("Linear probe", ("arm", *names, "mean", "macro-F1", *classes), tuple(rows), note)


def segmentation_table(results: BenchmarkResults, category: str) -> Grid:
    """Pixel figures of the U-Net."""
    lines = segmentation_lines(results, category)
    figures = ("average_precision", "f1", "iou", "best_f1", "pro")
    rows = tuple((line.arm, *(percent(mean_of(line.cells, figure)) for figure in figures)) for line in lines)
    config = results.protocol["segmentation"]
    wanted = () if config is None else config["arms"]
    without = [arm.name for arm in results.arms if "segmentation" in arm.absent and arm.name in wanted]
    weak = [line.arm for line in lines if any(a.name == line.arm and a.masks == "weak" for a in results.arms)]
    rows += tuple((name, *("-" for _ in figures)) for name in without if rows)
    note = (
        f"Small U-Net ({config['channels']} channels, {config['levels']} levels) from scratch, {config['steps']} steps "
        f"of {config['batch']} images in every arm, {percent(config['good_share'])} % of them defect-free; all test "
        "pixels, good test images included. F1 and IoU at the threshold that the validation images chose; best F1 "
        "knows the test images, as the literature's does."
        + (" '-': the system makes no masks." if without else "")
        + (f" Weak masks, a soft map of the system that was cut: {', '.join(weak)}." if weak else "")
        if rows
        else ""
    )
    return Grid("Segmentation", ("arm", "pixel AP", "F1", "IoU", "best F1 (oracle)", "PRO"), rows, note)


def threshold_table(results: BenchmarkResults, category: str) -> Grid:
    """Image F1 of the detector under each rule, mean over partitions."""
    cells = [cell for cell in results.thresholds if cell.category == category]
    rules = list(dict.fromkeys(rule.rule for cell in cells for rule in cell.rules))
    rows = []
    for name in rules:
        found = [rule for cell in cells for rule in cell.rules if rule.rule == name]
        rows.append((name, percent(sum(r.f1 for r in found) / len(found)), str(max(r.num_defects for r in found))))
    note = ""
    if cells:
        auc = sum(cell.auroc for cell in cells) / len(cells)
        note = (
            f"Detector: {cells[0].detector}; image AUROC {percent(auc)}. Each rule but the oracle sees held-out good "
            f"images and the defects it names. Test: {sum(not d for d in cells[0].is_defect)} good and "
            f"{sum(cells[0].is_defect)} defect images."
        )
    return Grid(
        "Anomaly threshold", ("threshold set by", "image F1 on the test, %", "defect images"), tuple(rows), note
    )


def cost_table(results: BenchmarkResults, category: str) -> Grid:
    """Wall time of each arm."""
    rows = []
    trained = sum(g.seconds for g in results.generators if g.category == category)
    for line in accuracy_lines(results, category):
        source = sum(cell.seconds_of_source for cell in {c.partition: c for c in reversed(line.cells)}.values())
        rows.append((line.arm, f"{source:.1f}", f"{mean_of(line.cells, 'seconds'):.1f}"))
    environment = results.environment
    note = (
        f"On {environment.hardware}, {environment.cores} cores, {environment.threads} threads, {environment.device}. "
        f"Generators were trained for {trained:.0f} s in all; the arm that needed one first carries that time. "
        f"The whole benchmark: {results.seconds:.0f} s."
    )
    return Grid("Cost, seconds", ("arm", "source and images", "one classifier"), tuple(rows), note)


def published_tables(results: BenchmarkResults, category: str) -> list[Grid]:
    """What others printed for a category of this name, each publication by itself."""
    found = []
    product = next(product for product in results.products if product.category == category)
    warning = (
        "Not comparable with ours: MVTec AD there, a procedural product here."
        if product.procedural
        else "Other training and, above all, another way of choosing the epoch: read the setting before comparing."
    )
    for task in ("classification", "segmentation"):
        entries = published(category, task)
        for key in dict.fromkeys((e.publication, e.table, e.setting, e.measures) for e in entries):
            rows = tuple(
                (e.method, *("-" if f is None else f"{f:g}" for f in e.figures))
                for e in entries if (e.publication, e.table, e.setting, e.measures) == key
            )  # fmt: skip
            publication, table, setting, measures = key
            found.append(Grid(f"Published, not ours: {publication}, {table}", ("method", *measures), rows,
                              f"{setting} {warning}"))  # fmt: skip
    return found


def headline(results: BenchmarkResults, category: str) -> list[str]:
    """One sentence per comparison with the real arm, in the order of the arms."""
    lines = {line.arm: line for line in accuracy_lines(results, category)}
    said = []
    if REAL in lines:
        said.append(f"Real images alone: {percent(lines[REAL].mean.mean)} % accuracy.")
    said += _said(results, category, "classification")
    probed = {line.arm: line for line in probe_lines(results, category)}
    if REAL in probed:
        said.append(f"Linear probe, real images alone: {percent(probed[REAL].mean.mean)} % accuracy.")
    said += [f"Linear probe, {line}" for line in _said(results, category, "probe")]
    return said


def _said(results: BenchmarkResults, category: str, task: str) -> list[str]:
    return [
        f"{c.arm}: {interval(c)} points, {c.verdict}."
        for c in results.comparisons
        if c.category == category and c.against == REAL and c.task == task
    ]


def missing_arms(results: BenchmarkResults) -> list[str]:
    """Arms that did not run, or not in every task, with the reason."""
    said = []
    tasks = {"classification": True, "segmentation": results.protocol["segmentation"] is not None}
    for arm in results.arms:
        said += [f"{arm.name} ({task}): {reason}." for task, reason in arm.absent.items() if tasks[task]]
        for reason in dict.fromkeys(arm.missing.values()):
            where = [place for place, why in arm.missing.items() if why == reason]
            said.append(f"{arm.name} ({', '.join(where)}): {reason}.")
    return said


def interval(c: Comparison) -> str:
    """Difference with its interval, in points."""
    return f"{100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]"


def p_value(value: float) -> str:
    """Three digits; the smallest that so many flips can show is not 0."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def needed(c: Comparison) -> str:
    """Partitions needed, bounded for the eye."""
    if c.partitions_needed is None:
        return "-"
    return "> 1000" if c.partitions_needed > 1000 else str(c.partitions_needed)


def _count(cells: Sequence[object], field: str) -> str:
    return str(max(int(getattr(cell, field)) for cell in cells))


def _range(cells: Sequence[object], field: str) -> str:
    values = [int(getattr(cell, field)) for cell in cells]
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
