"""`info`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defect_synth.cli.settings import SOURCES, Resolution, configure
from defect_synth.cli.terminal import say

if TYPE_CHECKING:
    from defect_synth.samples import DefectSource


def info(
    source: Annotated[
        str | None,
        typer.Argument(help=f"{SOURCES} Default: a preset."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Of DFMGAN: PAPER_256 (default), FAST_128, FAST_64 or TINY.")
    ] = None,
    resolution: Resolution = None,
) -> None:
    """Describe a source of defects; or print parameters, FLOPs per image and memory of a DFMGAN preset."""
    from defect_synth.dfmgan.cost import describe
    from defect_synth.errors import ConfigError

    if source is None:
        from defect_synth.painter.config import PAINTER_PRESETS

        if preset in PAINTER_PRESETS:
            raise ConfigError(
                f"{preset} is a preset of the painter, and --preset describes those of DFMGAN; train with it and give "
                "the run to `defect-synth info`"
            )
        say(*describe(configure(preset or "PAPER_256", resolution, None, device="cpu").model).split("\n"))
        return
    for option, value in (("--preset", preset), ("--resolution", resolution)):
        if value is not None:
            raise ConfigError(f"{option} describes a preset, and {source} has a size of its own; leave one of them out")
    from defect_synth.open import open_source, path_of

    path = path_of(source)
    if path is not None and path.is_file():
        _describe_checkpoint(path)
        return
    _describe_source(open_source(source, device="cpu"))


def _describe_checkpoint(path: Path) -> None:
    """The card of a file of any method."""
    from defect_synth.dfmgan.checkpoint import DFMGANCard
    from defect_synth.dfmgan.cost import describe
    from defect_synth.engine.checkpoint import Card, TrainingCard, checkpoint_kind, load_checkpoint
    from defect_synth.painter.checkpoint import PainterCard

    cards: dict[str | None, type[Card]] = {"painter": PainterCard, "training": TrainingCard}
    checkpoint = load_checkpoint(path, cards.get(checkpoint_kind(path), DFMGANCard))
    card = checkpoint.card
    for name, value in card.model_dump(mode="json", exclude={"model", "networks", "training", "product"}).items():
        say(f"{name}: {value}")
    say(f"sha256: {checkpoint.digest}")
    if isinstance(card, DFMGANCard):
        say(*describe(card.model).split("\n"))


def _describe_source(source: DefectSource) -> None:
    from defect_synth.compositor.bank import Bank
    from defect_synth.open import kind_of_source
    from defect_synth.samples import DefectPainter, FiniteSource

    say(f"kind: {kind_of_source(source)}")
    say(f"category: {source.category}")
    for defect in source.defects:
        held = f" ({len(source.seeds(defect))} samples)" if isinstance(source, FiniteSource) else ""
        say(f"defect: {defect}{held}")
    pasted = "pasted" if isinstance(source, Bank) else "pasted from a few recorded samples"
    say(f"on given images: {'painted' if isinstance(source, DefectPainter) else pasted}")
    say(f"digest: {source.digest}")
