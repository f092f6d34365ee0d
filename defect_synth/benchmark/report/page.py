"""The report as one self-contained page: pictures and SVG charts inside, no script, light and dark."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from defect_synth.benchmark.arms import REAL
from defect_synth.benchmark.report.charts import Bar, Series, confusion_matrix, forest_plot, line_chart
from defect_synth.benchmark.report.tables import (
    about_product,
    generator_origins,
    headline,
    left_out,
    measured_tables,
    published_tables,
    versions,
)
from defect_synth.benchmark.results import BenchmarkResults, GalleryRecord
from defect_synth.benchmark.tables.report_table import ReportTable, difference_in_points
from defect_synth.benchmark.tables.summary import accuracy_summaries, categories, summed_confusion
from defect_synth.benchmark.tasks.all_tasks import TASKS
from defect_synth.errors import DataError
from defect_synth.files import MIB, read_bytes

_MOST_PICTURE, _MOST_PICTURES = 8 * MIB, 128 * MIB
_DIRECTIONS = {"gain": "up", "loss": "down"}


class Chart(NamedTuple):
    """An SVG chart with its title, and a note how to read it."""

    title: str
    chart: Markup
    note: str = ""


class Picture(NamedTuple):
    """A picture of the gallery.

    Attributes:
        arms: The arms that share it.
        partition: Name of the partition.
        base64: The PNG file.
        columns: Defect and distance of each column.
        typical: Median distance over all generated images.
        real: Median distance between real images, or None.
    """

    arms: str
    partition: str
    base64: str
    columns: str
    typical: float
    real: float | None


class CategorySection(NamedTuple):
    """What the page shows of one category."""

    name: str
    about: str
    headline: list[str]
    forest_plots: list[Chart]
    measured: list[ReportTable]
    confusion_matrices: list[Chart]
    training_curves: list[Markup]
    ratio_sweep: Markup | None
    pictures: list[Picture]
    generators: list[str]
    published: list[ReportTable]


def html_report(results: BenchmarkResults, folder: Path) -> str:
    """The page; pictures of the gallery are read from `folder`."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("defect_synth.benchmark.report"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template("report.html.jinja").render(
        results=results,
        categories=[_section(results, category, folder) for category in categories(results)],
        arms=[f"{arm.name}: {arm.about}" for arm in results.arms],
        left_out=left_out(results),
        step_is_chosen=results.protocol["classifier"]["evaluations"] > 1,
        versions=versions(results),
    )


def _section(results: BenchmarkResults, category: str, folder: Path) -> CategorySection:
    return CategorySection(
        name=category,
        about=about_product(results, category),
        headline=headline(results, category),
        forest_plots=_forest_plots(results, category),
        measured=measured_tables(results, category),
        confusion_matrices=_confusion_matrices(results, category),
        training_curves=_training_curves(results, category),
        ratio_sweep=_ratio_sweep(results, category),
        pictures=_pictures([record for record in results.gallery if record.category == category], folder),
        generators=[f"{about} (digest {digest})" for about, digest in generator_origins(results, category)],
        published=published_tables(results, category),
    )


def _forest_plots(results: BenchmarkResults, category: str) -> list[Chart]:
    charts = []
    for task in TASKS:
        compared = [
            c for c in results.comparisons if c.category == category and c.task == task.name and c.against == REAL
        ]
        if compared:
            bars = [
                Bar(c.arm, 100 * c.difference, 100 * c.low, 100 * c.high, difference_in_points(c),
                    _DIRECTIONS.get(c.verdict, "flat"))
                for c in compared
            ]  # fmt: skip
            title = f"{task.name.capitalize()}: {task.compared_figure} against real images alone"
            note = (
                f"Dots: paired difference on {compared[0].images} test images; bars: 95 % bootstrap intervals over "
                "images; coloured if the verdict below is a gain or a loss."
            )
            charts.append(Chart(title, forest_plot(bars, title), note))
    return charts


def _confusion_matrices(results: BenchmarkResults, category: str) -> list[Chart]:
    return [
        Chart(
            s.arm, confusion_matrix(summed_confusion(s.results), s.results[0].classes, f"Confusion matrix of {s.arm}")
        )
        for s in accuracy_summaries(results, category)
    ]


def _training_curves(results: BenchmarkResults, category: str) -> list[Markup]:
    losses, accuracies = [], []
    for summary in accuracy_summaries(results, category):
        rate = summary.results[0].curve[0].learning_rate
        curves = [[point for point in result.curve if point.learning_rate == rate] for result in summary.results]
        steps = tuple(float(point.step) for point in curves[0])
        losses.append(Series(summary.arm, steps, _means([[point.train_loss for point in curve] for curve in curves])))
        if all(point.validation_accuracy is not None for curve in curves for point in curve):
            percents = [[100 * (point.validation_accuracy or 0) for point in curve] for curve in curves]
            accuracies.append(Series(summary.arm, steps, _means(percents)))
    charts = []
    if losses:
        charts.append(line_chart(losses, "Training loss", "optimiser step", "training loss"))
    if accuracies:
        charts.append(line_chart(accuracies, "Validation accuracy", "optimiser step", "balanced accuracy, %"))
    return charts


def _ratio_sweep(results: BenchmarkResults, category: str) -> Markup | None:
    by_arm: dict[str, dict[float, list[float]]] = {}
    for result in results.classification:
        if result.category == category and result.ratio is not None:
            by_arm.setdefault(result.arm, {}).setdefault(result.ratio, []).append(100 * result.accuracy)
    series = [
        Series(arm, tuple(sorted(found)), tuple(sum(found[r]) / len(found[r]) for r in sorted(found)))
        for arm, found in by_arm.items()
        if len(found) > 1
    ]
    if not series:
        return None
    return line_chart(series, "Accuracy by ratio", "generated images per real one in a batch", "accuracy, %")


def _pictures(records: Sequence[GalleryRecord], folder: Path) -> list[Picture]:
    """Arms that share a source share a picture."""
    shared: dict[tuple[str, bytes], list[GalleryRecord]] = {}
    known: dict[str, bytes] = {}
    for record in records:
        if record.file not in known:
            known[record.file] = _read_picture(folder, record.file)
        shared.setdefault((record.partition, known[record.file]), []).append(record)
    if sum(len(content) for _, content in shared) > _MOST_PICTURES:
        raise DataError(f"the pictures in {folder} have more than {_MOST_PICTURES // MIB} MiB; remove some entries")
    return [
        Picture(
            arms=", ".join(record.arm for record in of_picture),
            partition=partition,
            base64=base64.b64encode(content).decode("ascii"),
            columns=", ".join(
                f"{defect} {distance:.0f}"
                for defect, distance in zip(of_picture[0].defects, of_picture[0].distances, strict=True)
            ),
            typical=of_picture[0].typical,
            real=of_picture[0].real,
        )
        for (partition, content), of_picture in shared.items()
    ]


def _read_picture(folder: Path, file: str) -> bytes:
    """A PNG file of the gallery; links that lead out of the folder are not followed.

    Raises:
        DataError: It is missing, no PNG, too large, or elsewhere.
    """
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{path} leads out of {folder}; put the picture there")
    content = read_bytes(path, _MOST_PICTURE)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DataError(f"{path} is no PNG file; run the benchmark again with --resume")
    return content


def _means(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sum(values) / len(values) for values in zip(*rows, strict=True))
