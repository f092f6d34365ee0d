"""`preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        help="demo, demo-dfmgan, demo-bank, a bank, a run, a checkpoint, a painter or a generated folder.",
    ),
]


def preview(
    images: Annotated[list[Path], typer.Argument(help="Normal images.")],
    source: SourceOption = "demo",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the sheet and the page.")] = Path(
        "preview"
    ),
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=32, help="Draws of each severity.")] = 4,
) -> None:
    """Paint defects on your images and show severities and seeds on one page."""
    from defect_synth.augment.preview import preview as write

    names = None if defects is None else [name.strip() for name in defects.split(",")]
    print("\n".join(str(path) for path in write(images, source, output, defects=names, seeds=seeds)))
