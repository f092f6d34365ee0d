"""A painter in one file: the networks, and what it knows of its product (donors, masks, normal images).

Images are stored as PNG bytes in uint8 tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import AliasChoices, Field
from torch import Tensor

from defect_synth.config import Defects, PlainValues, Text
from defect_synth.engine.checkpoint import Card, checkpoint_kind, load_checkpoint, restore, save_checkpoint
from defect_synth.engine.loop import MODEL_FILE
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.network import PainterModel
from defect_synth.painter.product_card import Reference

PAINTER_FOLDER = "painter"
"""Folder of stage 2' in a run folder."""

_WEIGHTS = "model."
_ASSETS = "luggage."  # the name in files of format 1


class PainterCard(Card):
    """Card of a trained painter.

    Attributes:
        model: Sizes of the networks.
        defects: Defect categories in the order of their labels.
        reference: The longer side of a typical training image, in pixels.
        product: Symmetry, places of the masks, scales of the donors and colour statistics, as plain values.
        discriminator_features: Which frozen features the discriminators saw.
    """

    kind: Literal["painter"] = "painter"
    model: PainterModelConfig
    defects: Defects = Field(min_length=1)
    reference: Reference
    product: PlainValues
    discriminator_features: Text = Field(
        "",
        validation_alias=AliasChoices("discriminator_features", "judges"),  # the name in files of 0.1.0
    )
    licence_note: Text = "Weights and the images inside inherit the terms of the images that they were made from."


@dataclass(frozen=True, eq=False)
class PainterCheckpoint:
    """A loaded painter: its card, its networks (evaluation mode), PNG bytes by name, and the SHA-256 of the file."""

    card: PainterCard
    network: PainterModel
    assets: Mapping[str, Tensor]
    digest: str


def save_painter(
    path: Path, card: PainterCard, weights: Mapping[str, Tensor], assets: Mapping[str, Tensor], *, half: bool = False
) -> None:
    """Write a painter; an interrupted save leaves the old file as it was.

    Args:
        path: A `.safetensors` file.
        card: Its card.
        weights: State_dict of a `PainterModel`.
        assets: PNG bytes, uint8, by name.
        half: Store the weights as float16, in half the space; the difference is not visible in paintings.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {f"{_WEIGHTS}{name}": value.half() if half else value for name, value in weights.items()}
    save_checkpoint(path, card, tensors | {f"{_ASSETS}{name}": value for name, value in assets.items()})


def load_painter(path: Path) -> PainterCheckpoint:
    """Read a file that `save_painter` wrote.

    Raises:
        CheckpointError: The file is missing, damaged, no painter, or of a newer format.
    """
    checkpoint = load_checkpoint(path, PainterCard)
    card = checkpoint.card
    with torch.device("meta"):  # draws no initial weights: the global random state stays as it is
        network = PainterModel(card.model, len(card.defects))
    restore(network, _group(checkpoint.tensors, _WEIGHTS), path)
    network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    return PainterCheckpoint(card, network, _group(checkpoint.tensors, _ASSETS), checkpoint.digest)


def repack(painter: Path, output: Path, *, half: bool = False) -> tuple[str, ...]:
    """Copy a painter into a file of its own; returns its defect categories.

    Args:
        painter: Checkpoint of a painter.
        output: The `.safetensors` file to write.
        half: Store the weights as float16.

    Raises:
        CheckpointError: As `load_painter`.
        OutputError: The file cannot be written.
    """
    loaded = load_painter(painter)
    save_painter(output, loaded.card, loaded.network.state_dict(), loaded.assets, half=half)
    return loaded.card.defects


def painter_file(path: Path) -> Path | None:
    """The painter's checkpoint that `path` is, or that the run folder `path` holds; None: neither."""
    candidates = (path / PAINTER_FOLDER / MODEL_FILE, path / MODEL_FILE) if path.is_dir() else (path,)
    return next((file for file in candidates if file.is_file() and checkpoint_kind(file) == "painter"), None)


def _group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
