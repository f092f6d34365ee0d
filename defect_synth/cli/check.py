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
    pose: Annotated[
        str,
        typer.Option(
            help="How the parts lie in the images: auto (found out), aligned (all alike), any (each in a pose of its "
            "own) or none (poses mean nothing)."
        ),
    ] = "auto",
    page: Annotated[
        Path | None,
        typer.Option(help="Folder for check.html and check.png: parts in their common frame, real and proposed masks."),
    ] = None,
) -> None:
    """Print what a data folder contains, what is wrong with it and how the parts lie.

    Exit code 2 if training would refuse it.
    """
    from defect_synth.data.check import check as check_table
    from defect_synth.data.layouts import index
    from defect_synth.product.arrangement_check import check_arrangement

    table = index(data, category, layout)  # type: ignore[arg-type]
    report = check_table(table)
    say(*report.format().split("\n"), "")
    arrangement = check_arrangement(table, pose, for_page=page is not None)
    say(*arrangement.format().split("\n"))
    if page is None:
        say("To see it on a page, add --page FOLDER.")
    else:
        from defect_synth.augment.check_page import write_check_page

        say(*write_check_page(arrangement, page))
    if report.errors:
        raise typer.Exit(2)
