"""`import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defect_synth.cli.terminal import say


def import_(
    snapshot: Annotated[Path, typer.Argument(help="network-snapshot-*.pkl of DFMGAN or StyleGAN2-ADA.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .safetensors file to write.")],
    category: Annotated[str | None, typer.Option(help="Default: from the output's name, as in hazelnut_hole.")] = None,
    defect: Annotated[str | None, typer.Option(help="Likewise.")] = None,
) -> None:
    """Convert a snapshot of the authors' trainer without executing anything in it."""
    from defect_synth.dfmgan.checkpoint import DFMGANCard
    from defect_synth.dfmgan.official import import_snapshot
    from defect_synth.engine.checkpoint import library_versions, save_checkpoint
    from defect_synth.errors import ConfigError

    if output.suffix != ".safetensors":
        raise ConfigError(f"--output must end in .safetensors, got {output.name}")
    found = import_snapshot(snapshot)
    head, _, tail = output.stem.partition("_")
    card = DFMGANCard(
        kind="dfmgan" if found.stage == 2 else "backbone",
        model=found.config,
        category=category or head,
        defect=(defect or tail or "defect") if found.stage == 2 else None,
        origin=f"imported from {snapshot.name}",
        versions=library_versions(),
        licence_note="Imported weights; the terms of their authors (NVIDIA Source Code License, non-commercial) apply.",
    )
    save_checkpoint(output, card, found.generator_ema)
    what = f"DFMGAN, defect {card.defect}" if found.stage == 2 else "backbone"
    say(f"{output}: {what}, category {card.category}, {found.config.backbone.resolution} px")
