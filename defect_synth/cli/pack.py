"""`pack`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.terminal import say


def pack(
    run: Annotated[str, typer.Argument(help="Run folder of `defect-synth train`: a DFMGAN or a painter.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the bytes, other last bits.")] = False,
) -> None:
    """Write a trained run as one file, to hand on or to deploy; DFMGANs of several defects share their backbone."""
    from defect_synth.errors import CheckpointError, ConfigError
    from defect_synth.open import kind_of_source, open_source, path_of
    from defect_synth.painter.checkpoint import painter_file, repack

    if output.suffix != ".safetensors":
        raise ConfigError(f"--output must end in .safetensors, got {output.name}")
    path = path_of(run)
    if path is None:
        raise ConfigError(f"{run} ships with the package as it is; expected a run folder of `defect-synth train`")
    painter = painter_file(path)
    files = {file.parent.name: file for file in path.glob("defects/*/model.safetensors")}
    if painter is not None:
        defects = repack(painter, output, half=half)
    elif files and not _is_baseline(path):
        from defect_synth.dfmgan.bundle import pack as write

        write(files, output, half=half)
        defects = tuple(sorted(files))
    else:
        opened = open_source(run)  # names what is wrong with a path that nothing can open
        raise CheckpointError(
            f"{run} is a {kind_of_source(opened)}, which cannot be written as one file; expected a run folder of "
            "`defect-synth train` with --method painter or dfmgan"
        )
    say(f"{output}: {', '.join(defects)}, {output.stat().st_size / 1e6:.1f} MB")


def _is_baseline(run: Path) -> bool:
    from defect_synth.baselines.train import is_system

    return is_system(run)
