"""`bank`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import Device


def bank(
    run: Annotated[Path, typer.Argument(help="Run folder, checkpoint, generated folder, or (with --real) your data.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder.")],
    count: Annotated[int, typer.Option(help="Entries of each defect.")] = 100,
    defects: Annotated[str | None, typer.Option(help="Comma-separated; default: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first sample.")] = 0,
    real: Annotated[bool, typer.Option("--real", help="RUN is a data folder: bank its real defects.")] = False,
    resolution: Annotated[int, typer.Option(help="With --real: side of the entries in pixels.")] = 256,
    category: Annotated[str | None, typer.Option(help="With --real: which category.")] = None,
    device: Device = "auto",
) -> None:
    """Record defects that pass the quality gates, for painting them on your own images."""
    from defect_synth.bank import build_bank
    from defect_synth.cli.progress import bar
    from defect_synth.cli.settings import log_to_terminal
    from defect_synth.errors import DataError
    from defect_synth.folder_source import FolderSource, find_generated_folder
    from defect_synth.real_source import RealSource
    from defect_synth.samples import DefectSource
    from defect_synth.synthesizer import DefectSynthesizer

    log_to_terminal()
    source: DefectSource
    if real:
        source = RealSource.open(run, category, resolution)
    else:
        try:
            source = FolderSource(find_generated_folder(run))
        except DataError as error:
            if "no provenance.jsonl" not in str(error):
                raise
            source = DefectSynthesizer.load(run, device=device)
    names = None if defects is None else [name.strip() for name in defects.split(",")]
    with bar("bank") as update:
        made, report = build_bank(source, output, count=count, defects=names, seed=seed, progress=update)
    report.warn()
    print(f"{len(made)} entries in {output}; {report.summary()}")
