"""What both translation baselines need of a network on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from defect_synth.dfmgan.config import ModelConfig
from defect_synth.engine.checkpoint import CheckpointInfo, library_versions, load_checkpoint, restore, save_checkpoint

MODEL_FILE = "model.safetensors"


def described(
    method: str, category: str, defect: str | None, digest: str, count: int, settings: dict[str, Any]
) -> CheckpointInfo:
    """The card of a run; `model` describes a DFMGAN and is not read here, the sizes are in `training`."""
    return CheckpointInfo(
        kind="training", model=ModelConfig(), category=category, defect=defect, data_digest=digest, num_images=count,
        training={"method": method, **settings}, versions=library_versions(),
    )  # fmt: skip


def export(path: Path, info: CheckpointInfo, kimg: float, network: nn.Module) -> None:
    """Write the network that samples are drawn from."""
    save_checkpoint(path, info.model_copy(update={"trained_kimg": kimg}), network.state_dict())


def reopen(path: Path, network: nn.Module) -> str:
    """Fill a network from `export`'s file; the file's digest.

    Raises:
        CheckpointError: The file is missing, damaged or of another architecture.
    """
    checkpoint = load_checkpoint(path, "training")
    tensors: dict[str, Tensor] = checkpoint.tensors
    restore(network, tensors, path)
    network.eval().requires_grad_(False)
    return checkpoint.digest
