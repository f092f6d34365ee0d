"""`generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import LAST_SAMPLE, MOST_SAMPLES, SOURCES, Device, split_names
from defect_synth.cli.terminal import say


def generate(
    run: Annotated[str, typer.Argument(help=SOURCES)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write, in MVTec AD layout.")],
    count: Annotated[int, typer.Option(min=1, max=MOST_SAMPLES, help="Samples of each defect.")] = 100,
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, max=LAST_SAMPLE, help="Seed of the first sample; the others follow.")] = 0,
    truncation_object: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="psi for w_object of a DFMGAN; 1: no truncation.")
    ] = 1.0,
    truncation_defect: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="psi for w_defect of a DFMGAN; 1: no truncation.")
    ] = 1.0,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="PART/PARTS",
            help="Draw one part, such as 2/8, into a folder that machines share; the last to finish completes it.",
        ),
    ] = None,
    device: Device = "auto",
) -> None:
    """Write synthetic defect images with masks and paired clean images; run it again to continue."""
    from defect_synth.cli.progress import bar
    from defect_synth.export.generated_folder import SHEET, Shard
    from defect_synth.export.generated_folder import generate as write
    from defect_synth.open import open_source

    part = None if shard is None else Shard.parse(shard)
    source = open_source(run, device=device, truncation_object=truncation_object, truncation_defect=truncation_defect)
    names = split_names(defects)
    with bar("generate") as update:
        folder = write(source, output, count=count, defects=names, first_seed=seed, shard=part, progress=update)
    if part is not None and any(folder.glob(".part-*.jsonl")):
        say(f"{folder}: part {shard} is done, other parts are not yet")
    else:
        say(f"{folder} (look at {folder / SHEET})")
