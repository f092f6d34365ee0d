"""`export`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import split_names
from defect_synth.cli.terminal import log_to_terminal, say


def export(
    source: Annotated[
        str, typer.Argument(help="demo-bank, or the folder that `defect-synth generate` or `bank` wrote.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    form: Annotated[str, typer.Option("--format", help="mvtec, coco, yolo-seg, labelme or webdataset.")] = "coco",
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
) -> None:
    """Write generated defects in the format another tool reads."""
    from defect_synth.compositor.bank import Bank
    from defect_synth.errors import DataError, UnknownDefectError
    from defect_synth.export import export as write
    from defect_synth.open import kind_of_source, open_source
    from defect_synth.samples import FiniteSource

    log_to_terminal(logging.INFO)
    opened = open_source(source)
    if not isinstance(opened, FiniteSource):
        raise DataError(
            f"{source} is a {kind_of_source(opened)}, which makes samples without end; write some first: "
            f"`defect-synth generate {source} -o synthetic`, and export that folder"
        )
    chosen = tuple(split_names(defects) or opened.defects)
    for name in chosen:
        if name not in opened.defects:
            raise UnknownDefectError(name, opened.category, opened.defects)
    if isinstance(opened, Bank):
        samples = (sample for sample in opened.recorded_samples() if sample.defect in chosen)
    else:
        samples = (sample for name in chosen for seed in opened.seeds(name) for sample in opened.sample(name, [seed]))
    say(f"{write(output, samples, form, opened.defects)} samples in {output}")
