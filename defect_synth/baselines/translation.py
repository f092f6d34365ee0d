"""What the image translation baselines (SDGAN, Defect-GAN) share: schedule, optimizer, card and contact sheet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from defect_synth.config import Count, Defects, PlainValues, StageConfig, Text
from defect_synth.data.store import ImageArrays
from defect_synth.engine.checkpoint import (
    Card,
    TrainingCard,
    library_versions,
    load_checkpoint,
    restore,
    save_checkpoint,
)
from defect_synth.samples import pixels_to_signal

NetworkT = TypeVar("NetworkT", bound=nn.Module)
_NUM_SHOWN = 16  # normal images on a contact sheet


class TranslationStageConfig(StageConfig):
    """Schedule of a translation baseline."""

    mirror: bool = Field(True, description="Mirror half of the training images.")


class TranslationCard(Card):
    """Card of a trained generator of SDGAN or Defect-GAN.

    Attributes:
        method: `sdgan` or `defect-gan`.
        defects: Defect categories that it makes.
        data_digest: Identifies the training images.
        num_images: How many defect images there were.
        networks: Sizes of the networks, as plain values.
    """

    kind: Literal["translation"] = "translation"
    method: Text
    defects: Defects
    data_digest: Text = ""
    num_images: Count = 0
    networks: PlainValues


def adam(module: nn.Module, config: StageConfig, beta2: float) -> torch.optim.Adam:
    """The optimizer of a network; beta1 = 0.5 is usual for translation (Zhu et al. 2017)."""
    return torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(0.5, beta2), fused=True)


def snapshot_card(
    method: str, category: str, defects: tuple[str, ...], normal: ImageArrays, images: ImageArrays,
    networks: dict[str, Any], training: dict[str, Any],
) -> TrainingCard:  # fmt: skip
    """The card of a stage's snapshots.

    Args:
        method: `sdgan` or `defect-gan`.
        category: Object category.
        defects: Defect categories that the stage trains on.
        normal: Normal training images.
        images: Defect training images.
        networks: Sizes of the networks, as plain values.
        training: All other settings, as plain values.
    """
    return TrainingCard(
        method=method, category=category, defect=defects[0] if len(defects) == 1 else None,
        data_digest=images.digest + normal.digest, num_images=len(images), training=training, networks=networks,
        versions=library_versions(),
    )  # fmt: skip


def save_generator(
    path: Path, snapshot: TrainingCard, defects: tuple[str, ...], kimg: float, network: nn.Module
) -> None:
    """Write the averaged generator, from which samples are drawn.

    Raises:
        OutputError: The file cannot be written.
    """
    card = TranslationCard(
        method=snapshot.method, category=snapshot.category, defects=defects, trained_kimg=kimg,
        data_digest=snapshot.data_digest, num_images=snapshot.num_images, networks=snapshot.networks,
        training=snapshot.training, versions=snapshot.versions,
    )  # fmt: skip
    save_checkpoint(path, card, network.state_dict())


def load_generator(path: Path, build: Callable[[], NetworkT]) -> tuple[NetworkT, str]:
    """A network from the file of `save_generator`, ready to sample from, and the digest of the file.

    Args:
        path: The file.
        build: Makes the network; called where it takes no memory, as the settings of a run may ask for any size.

    Raises:
        CheckpointError: The file is missing, damaged or of another architecture.
    """
    checkpoint = load_checkpoint(path, TranslationCard)
    with torch.device("meta"):
        network = build()
    restore(network, checkpoint.tensors, path)
    return network.eval().requires_grad_(False), checkpoint.digest


def shown_images(normal: ImageArrays, device: torch.device) -> Tensor:
    """The first normal images, for contact sheets: signal [N, 3, R, R], N <= 16."""
    return pixels_to_signal(torch.from_numpy(normal.images[:_NUM_SHOWN]).permute(0, 3, 1, 2)).to(device)
