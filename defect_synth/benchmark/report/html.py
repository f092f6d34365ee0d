"""The report as one page that needs nothing else: pictures inside, charts as SVG, no script, light and dark."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path

from defect_synth.benchmark.arms import REAL
from defect_synth.benchmark.report.charts import Bar, Series, confusion_matrix, forest_plot, line_chart
from defect_synth.benchmark.report.grid import Grid
from defect_synth.benchmark.report.summary import accuracy_lines, categories, summed_confusion
from defect_synth.benchmark.report.tables import COMPARED, headline, interval, missing_arms, tables
from defect_synth.benchmark.results import BenchmarkResults, ClassificationCell, GalleryRecord

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2330;--soft:#5d6675;--page:#f6f7f9;--card:#fff;--line:#d9dde4;
--up:#0b7a4b;--down:#b3261e;--flat:#5d6b82;--hit:#1f6feb;--miss:#c2571a;
--s0:#1f6feb;--s1:#c2571a;--s2:#0b7a4b;--s3:#8a3ffc;--s4:#b3261e;--s5:#00798c;--s6:#8c6d1f;--s7:#5d6b82}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b5;--page:#12151b;--card:#1b2029;--line:#343b48;
--up:#4cc38a;--down:#ff7b72;--flat:#9aa7bd;--hit:#539bf5;--miss:#f0883e;
--s0:#539bf5;--s1:#f0883e;--s2:#4cc38a;--s3:#b392f0;--s4:#ff7b72;--s5:#56c8d8;--s6:#e3c567;--s7:#9aa7bd}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1040px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:27px;margin:0 0 4px}h2{font-size:22px;margin:38px 0 6px}h3{font-size:16px;margin:0 0 10px}
p{margin:6px 0}.soft,.note,figcaption{color:var(--soft);font-size:13.5px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:16px 0}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:6px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600;white-space:normal;vertical-align:bottom}th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}tbody tr:hover{background:color-mix(in srgb,var(--hit) 7%,transparent)}
ul{margin:6px 0;padding-left:20px}li{margin:3px 0}
td.long{white-space:normal;min-width:16em}td.long:first-child{min-width:12em}
.gain{color:var(--up);font-weight:600}.loss{color:var(--down);font-weight:600}
figure{margin:14px 0 4px}figure img{max-width:100%;height:auto;display:block;border-radius:6px;background:#fff}
.matrices{display:flex;flex-wrap:wrap;gap:14px 22px}.matrices figure{margin:0}
svg text{fill:var(--ink);font-size:13px}svg .tick{fill:var(--soft);font-size:12px}svg .cell{font-size:13px}
svg .grid{stroke:var(--line)}svg .zero{stroke:var(--soft);stroke-width:1.5}
svg .bar{stroke-width:2.5}svg .up{stroke:var(--up);fill:var(--up)}svg .down{stroke:var(--down);fill:var(--down)}
svg .flat{stroke:var(--flat);fill:var(--flat)}svg rect.right{fill:var(--hit)}svg rect.wrong{fill:var(--miss)}
svg polyline{fill:none;stroke-width:2}
""" + "".join(f"svg polyline.s{i}{{stroke:var(--s{i})}}svg circle.s{i}{{fill:var(--s{i})}}" for i in range(8))

_KINDS = {"gain": "up", "loss": "down"}


def html_report(results: BenchmarkResults, folder: Path) -> str:
    """The page; pictures of the gallery are read from `folder`."""
    name = results.protocol["name"]
    seconds, environment = results.seconds, results.environment
    body = [
        f"<h1>Does synthetic data help? Benchmark “{escape(name)}”</h1>",
        f'<p class="soft">{escape(results.protocol["about"])}</p>',
        f'<p class="soft">{seconds / 60:.1f} min on {escape(environment.hardware)}, {environment.cores} cores, '
        f"{environment.threads} threads, {escape(environment.device)}.</p>",
    ]
    for category in categories(results):
        body += _category(results, category, folder)
    body.append(_card("Arms", _list([f"{arm.name}: {arm.about}" for arm in results.arms])))
    left_out = [*missing_arms(results), *results.notes]
    if left_out:
        body.append(_card("Left out", _list(left_out)))
    versions = ", ".join(f"{name} {version}" for name, version in environment.versions.items())
    body.append(f'<p class="soft">{escape(versions)}. Raw predictions are in results.json.</p>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>defect-synth benchmark: {escape(', '.join(categories(results)))}</title>"
        f"<style>{_STYLE}</style></head>\n<body><main>{''.join(body)}</main></body></html>\n"
    )


def _category(results: BenchmarkResults, category: str, folder: Path) -> list[str]:
    product = next(p for p in results.products if p.category == category)
    about = f"{product.about[0].upper()}{product.about[1:]}; {product.resolution} px."
    blocks = [f"<h2>{escape(category)}</h2>", f'<p class="soft">{escape(about)}</p>']
    blocks.append(_card("In short", _list(headline(results, category))))
    blocks += _forests(results, category)
    grids = tables(results, category)
    ours = [grid for grid in grids if not grid.title.startswith("Published")]
    blocks += [_grid(grid) for grid in ours]
    blocks += [_matrices(results, category), _curves(results, category), _sweep(results, category)]
    blocks.append(_gallery([g for g in results.gallery if g.category == category], folder))
    origins = [
        f"{g.generator} of {g.partition}: {g.about} (digest {g.digest[:12]})"
        for g in results.generators
        if g.category == category
    ]
    if origins:
        blocks.append(_card("Generators", _list(origins)))
    blocks += [_grid(grid) for grid in grids if grid not in ours]
    return [block for block in blocks if block]


def _forests(results: BenchmarkResults, category: str) -> list[str]:
    blocks = []
    for task, figure in COMPARED.items():
        mine = [c for c in results.comparisons if c.category == category and c.task == task and c.against == REAL]
        if mine:
            bars = [
                Bar(c.arm, 100 * c.difference, 100 * c.low, 100 * c.high, interval(c), _KINDS.get(c.verdict, "flat"))
                for c in mine
            ]
            title = f"{task.capitalize()}: {figure} against real images alone"
            note = (
                f"Dots: paired difference on {mine[0].images} test images; bars: 95 % bootstrap intervals over images; "
                "coloured where the verdict below is a gain or a loss."
            )
            blocks.append(
                _card(title, f'<div class="scroll">{forest_plot(bars, title)}</div><p class="note">{note}</p>')
            )
    return blocks


def _matrices(results: BenchmarkResults, category: str) -> str:
    drawn = []
    for line in accuracy_lines(results, category):
        cells = [cell for cell in line.cells if isinstance(cell, ClassificationCell)]
        matrix = confusion_matrix(summed_confusion(cells), cells[0].classes, f"Confusion matrix of {line.arm}")
        drawn.append(f"<figure>{matrix}<figcaption>{escape(line.arm)}</figcaption></figure>")
    note = '<p class="note">Rows: truth; columns: answers; all partitions and seeds together.</p>'
    return _card("Confusion matrices", f'<div class="matrices">{"".join(drawn)}</div>{note}') if drawn else ""


def _curves(results: BenchmarkResults, category: str) -> str:
    losses, accuracies = [], []
    for line in accuracy_lines(results, category):
        cells = [cell for cell in line.cells if isinstance(cell, ClassificationCell)]
        rate = cells[0].curve[0].learning_rate
        points = [[p for p in cell.curve if p.learning_rate == rate] for cell in cells]
        steps = tuple(float(p.step) for p in points[0])
        losses.append(Series(line.arm, steps, _mean([[p.train_loss for p in c] for c in points])))
        if all(p.validation_accuracy is not None for c in points for p in c):
            values = [[100 * (p.validation_accuracy or 0) for p in c] for c in points]
            accuracies.append(Series(line.arm, steps, _mean(values)))
    if not losses:
        return ""
    parts = [line_chart(losses, "Training loss", "optimiser step", "training loss")]
    if accuracies:
        parts.append(line_chart(accuracies, "Validation accuracy", "optimiser step", "balanced accuracy, %"))
    note = '<p class="note">Means over partitions and seeds, first learning rate. The lower chart chose the step.</p>'
    return _card("Training", f'<div class="scroll">{"".join(parts)}</div>{note}')


def _sweep(results: BenchmarkResults, category: str) -> str:
    by_arm: dict[str, dict[float, list[float]]] = {}
    for cell in results.classification:
        if cell.category == category and cell.ratio is not None:
            by_arm.setdefault(cell.arm, {}).setdefault(cell.ratio, []).append(100 * cell.accuracy)
    series = [
        Series(arm, tuple(sorted(found)), tuple(sum(found[r]) / len(found[r]) for r in sorted(found)))
        for arm, found in by_arm.items()
        if len(found) > 1
    ]
    if not series:
        return ""
    chart = line_chart(series, "Accuracy by ratio", "generated images per real one in a batch", "accuracy, %")
    return _card("How many generated images per real one", f'<div class="scroll">{chart}</div>')


def _gallery(records: list[GalleryRecord], folder: Path) -> str:
    pictures: dict[tuple[str, bytes], list[GalleryRecord]] = {}  # arms that share a source share a picture
    for record in records:
        pictures.setdefault((record.partition, (folder / record.file).read_bytes()), []).append(record)
    figures = []
    for (partition, content), shared in pictures.items():
        data, record = base64.b64encode(content).decode("ascii"), shared[0]
        arms = escape(", ".join(r.arm for r in shared))
        labels = ", ".join(f"{d} {v:.0f}" for d, v in zip(record.defects, record.distances, strict=True))
        real = "" if record.real is None else f"; from each real image to the nearest other one {record.real:.0f}"
        figures.append(
            f'<figure><img alt="Samples of {arms}, {escape(partition)}" src="data:image/png;base64,{data}">'
            f"<figcaption><b>{arms}</b>, {escape(partition)}. Columns with their distance: {escape(labels)}. Median "
            f"distance of all generated images {record.typical:.0f}{real}.</figcaption></figure>"
        )
    note = (
        '<p class="note">Top: generated. Middle: with the outline of its mask. Bottom: the nearest real base image of '
        "the same defect (RMS difference of 0 to 255 at 32 px). A distance far below the real one points to copies.</p>"
    )
    return _card("Samples and their nearest real neighbours", note + "".join(figures)) if figures else ""


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in grid.head)
    rows = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in grid.rows)
    note = f'<p class="note">{escape(grid.note)}</p>' if grid.note else ""
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return _card(grid.title, table + note)


def _cell(text: str) -> str:
    kind = f' class="{text}"' if text in _KINDS else ' class="long"' if len(text) > 40 else ""
    return f"<td{kind}>{escape(text)}</td>"


def _card(title: str, content: str) -> str:
    return f"<section><h3>{escape(title)}</h3>{content}</section>"


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _mean(rows: list[list[float]]) -> tuple[float, ...]:
    return tuple(sum(values) / len(values) for values in zip(*rows, strict=True))
