"""`check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.terminal import say


def check(
    data: Annotated[Path, typer.Argument(help="A category's folder, a folder of categories, a CSV or a COCO JSON.")],
    category: Annotated[str | None, typer.Option(help="Which category of a folder of categories.")] = None,
    layout: Annotated[str, typer.Option(help="auto, mvtec, visa, folders, csv or coco.")] = "auto",
) -> None:
    """Print what a data folder contains and what is wrong with it; exit code 2 if training would refuse it."""
    from defect_synth.data.check import check as check_table
    from defect_synth.data.layouts import index

    table = index(data, category, layout)  # type: ignore[arg-type]
    report = check_table(table)
    say(*report.format().split("\n"))
    if report.errors:
        raise typer.Exit(2)
