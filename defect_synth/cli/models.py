"""`import` and `info`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.settings import Preset, Resolution, configure


def import_(
    snapshot: Annotated[Path, typer.Argument(help="network-snapshot-*.pkl of DFMGAN or StyleGAN2-ADA.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    category: Annotated[str | None, typer.Option(help="Default: from the output's name, as in hazelnut_hole.")] = None,
    defect: Annotated[str | None, typer.Option(help="Likewise.")] = None,
) -> None:
    """Convert a snapshot of the authors' trainer without executing anything in it."""
    from defect_synth.dfmgan.official import import_snapshot
    from defect_synth.engine.checkpoint import CheckpointInfo, library_versions, save_checkpoint
    from defect_synth.errors import ConfigError

    if output.suffix != ".safetensors":
        raise ConfigError(f"--output must end in .safetensors, got {output.name}")
    found = import_snapshot(snapshot)
    head, _, tail = output.stem.partition("_")
    info = CheckpointInfo(
        kind="dfmgan" if found.stage == 2 else "backbone",
        model=found.config,
        category=category or head,
        defect=(defect or tail or "defect") if found.stage == 2 else None,
        origin=f"imported from {snapshot.name}",
        versions=library_versions(),
        licence_note="Imported weights; the terms of their authors (NVIDIA Source Code License, non-commercial) apply.",
    )
    save_checkpoint(output, info, found.generator_ema)
    what = f"DFMGAN, defect {info.defect}" if found.stage == 2 else "backbone"
    print(f"{output}: {what}, category {info.category}, {found.config.backbone.resolution} px")


def pack(
    run: Annotated[Path, typer.Argument(help="Run folder of `defect-synth train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the bytes, other last bits.")] = False,
) -> None:
    """Write all defects of a run as one file, with the backbone that they share once: to hand on, or to deploy."""
    from defect_synth.dfmgan.bundle import pack as write
    from defect_synth.errors import CheckpointError, ConfigError

    if output.suffix != ".safetensors":
        raise ConfigError(f"--output must end in .safetensors, got {output.name}")
    files = {path.parent.name: path for path in run.glob("defects/*/model.safetensors")}
    if not files:
        raise CheckpointError(
            f"{run} has no defects/*/model.safetensors; expected a run folder of `defect-synth train`"
        )
    write(files, output, half=half)
    print(f"{output}: {', '.join(sorted(files))}, {output.stat().st_size / 1e6:.1f} MB")


def info(
    path: Annotated[Path | None, typer.Argument(help="A checkpoint to describe; default: a preset.")] = None,
    preset: Preset = None,
    resolution: Resolution = None,
) -> None:
    """Print trainable parameters, FLOPs per image and memory of a preset or a checkpoint."""
    from defect_synth.dfmgan.cost import describe
    from defect_synth.engine.checkpoint import load_checkpoint

    if path is not None:
        checkpoint = load_checkpoint(path)
        about = checkpoint.info.model_dump(mode="json", exclude={"model", "training"})
        for name, value in about.items():
            print(f"{name}: {value}")
        print(f"sha256: {checkpoint.digest}")
        print(describe(checkpoint.info.model))
        return
    print(describe(configure(preset or "PAPER_256", resolution, None, device="cpu").model))
