"""From a snapshot file to the settings and weights of our networks; every tensor is checked against the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import ModelConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.dfmgan.official.names import to_ours_discriminator, to_ours_generator
from defect_synth.dfmgan.official.settings import StageNumber, model_config, stage_of
from defect_synth.dfmgan.official.snapshot import OfficialSnapshot, read_snapshot
from defect_synth.errors import CheckpointError
from defect_synth.weights.finite import require_finite


@dataclass(frozen=True)
class ImportedSnapshot:
    """The networks of a snapshot as state_dicts with our names, float32.

    Attributes:
        config: Sizes of the networks.
        generator: Weights of `Backbone` (stage 1) or `DFMGAN` (stage 2) as trained.
        generator_ema: Their average over training, with which samples are drawn.
        discriminator: D.
        match_discriminator: D_match; None where the file has none.
        stage: 1 for a backbone, 2 for a DFMGAN.
    """

    config: ModelConfig
    generator: dict[str, Tensor]
    generator_ema: dict[str, Tensor]
    discriminator: dict[str, Tensor]
    match_discriminator: dict[str, Tensor] | None
    stage: StageNumber


def import_snapshot(path: str | Path) -> ImportedSnapshot:
    """Read a `.pkl` of the authors' trainer or of StyleGAN2-ADA without executing anything in it.

    Raises:
        CheckpointError: The file is another one, damaged, unsafe or of an unsupported variant, or its tensors
            contradict its own settings or are no numbers.
    """
    return convert_snapshot(read_snapshot(path))


def convert_snapshot(snapshot: OfficialSnapshot) -> ImportedSnapshot:
    """Convert a snapshot that has been read.

    Raises:
        CheckpointError: As `import_snapshot`.
    """
    config = model_config(snapshot)
    stage = stage_of(snapshot)
    with torch.device("meta"):  # shapes only
        generator = Backbone(config.backbone) if stage == 1 else DFMGAN(config)
        discriminator_shapes = {"D": build_discriminator(config), "D_match": build_match_discriminator(config)}

    for name, state in snapshot.networks.items():
        require_finite(state.tensors, f"{snapshot.path}: {name}")
    generators = {}
    for name in ("G", "G_ema"):
        with _named(snapshot.path, name):
            generators[name] = to_ours_generator(snapshot.networks[name].tensors, config)
            _check_fit(generators[name], generator)
    discriminators = {}
    for name, network in discriminator_shapes.items():
        if name in snapshot.networks:
            with _named(snapshot.path, name):
                discriminators[name] = to_ours_discriminator(snapshot.networks[name].tensors)
                _check_fit(discriminators[name], network)
    return ImportedSnapshot(
        config, generators["G"], generators["G_ema"], discriminators["D"], discriminators.get("D_match"), stage
    )


@contextmanager
def _named(path: Path, network: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {network}: {error}") from error


def _check_fit(state: dict[str, Tensor], network: nn.Module) -> None:
    expected = network.state_dict()
    missing = sorted(expected.keys() - state.keys())
    if missing:
        raise CheckpointError(f"{len(missing)} tensors are missing that its settings ask for, such as {missing[0]}")
    unknown = sorted(state.keys() - expected.keys())
    if unknown:
        raise CheckpointError(
            f"{len(unknown)} tensors are there that its settings do not ask for, such as {unknown[0]}"
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)}; its settings give {list(expected[name].shape)}"
            )
