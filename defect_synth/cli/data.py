"""`check` and `demo-data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check(
    data: Annotated[Path, typer.Argument(help="A category's folder, a folder of categories, a CSV or a COCO JSON.")],
    category: Annotated[str | None, typer.Option(help="Which category of a folder of categories.")] = None,
    layout: Annotated[str, typer.Option(help="auto, mvtec, visa, folders, csv or coco.")] = "auto",
) -> None:
    """Print what a data folder holds and every misfit in it; exit code 2 if training would refuse it."""
    from defect_synth.data.check import check as check_table
    from defect_synth.data.layouts import index

    table = index(data, category, layout)  # type: ignore[arg-type]
    report = check_table(table)
    print(report.format())
    if report.errors:
        raise typer.Exit(2)


def demo_data(
    folder: Annotated[Path, typer.Argument(help="Where the category folder `hazelnut` is written.")],
    resolution: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 256,
    good: Annotated[int, typer.Option(help="Defect-free training images.")] = 200,
    per_defect: Annotated[int, typer.Option(help="Images of each defect.")] = 18,
    seed: Annotated[int, typer.Option(help="Another seed, other nuts.")] = 0,
) -> None:
    """Write the embedded product, a procedural hazelnut with four defects, in MVTec layout."""
    from defect_synth.cli.progress import bar
    from defect_synth.demo.hazelnut import write_demo

    with bar("render") as update:
        path = write_demo(folder, resolution=resolution, good=good, per_defect=per_defect, seed=seed, progress=update)
    print(path)
