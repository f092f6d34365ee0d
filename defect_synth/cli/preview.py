"""`preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import SOURCES, split_names
from defect_synth.cli.terminal import say

SourceOption = Annotated[
    str,
    typer.Option(
        "--source",
        help=SOURCES,
    ),
]
RegionOption = Annotated[
    Path | None,
    typer.Option(
        help="Defects only here: a mask, white on black, drawn on the image (the first one) or on --region-of."
    ),
]
RegionOfOption = Annotated[
    Path | None,
    typer.Option(help="The normal image that --region was drawn on: the region follows the part, however it lies."),
]


def preview(
    images: Annotated[list[Path], typer.Argument(help="Normal images.")],
    source: SourceOption = "demo",
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for preview.png and preview.html.")] = Path(
        "preview"
    ),
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=32, help="Number of seeds at each severity.")] = 4,
    region: RegionOption = None,
    region_of: RegionOfOption = None,
) -> None:
    """Paint defects on your images and show severities and seeds on one page."""
    from defect_synth.augment.preview import preview as write

    names = split_names(defects)
    say(*write(images, source, output, defects=names, seeds=seeds, region=region, region_of=region_of))
