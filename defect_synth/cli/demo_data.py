"""`demo-data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import MOST_SEED
from defect_synth.cli.terminal import say


def demo_data(
    folder: Annotated[Path, typer.Argument(help="Folder in which the category folder `hazelnut` is written.")],
    resolution: Annotated[int, typer.Option(min=16, max=4096, help="Side of the images in pixels.")] = 256,
    good: Annotated[int, typer.Option(min=0, max=100_000, help="Defect-free training images.")] = 200,
    per_defect: Annotated[int, typer.Option(min=0, max=100_000, help="Images of each defect.")] = 18,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the drawings.")] = 0,
) -> None:
    """Write the embedded product, a procedural hazelnut with four kinds of defects, in MVTec AD layout."""
    from defect_synth.cli.progress import bar
    from defect_synth.demo.mvtec_folder import write_demo

    with bar("render") as update:
        path = write_demo(folder, resolution=resolution, good=good, per_defect=per_defect, seed=seed, progress=update)
    say(path)
