"""Configuration and weights in one safetensors file; nothing executable is ever stored or loaded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from defect_synth.atomic import replacing
from defect_synth.config import ModelConfig
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.errors import CheckpointError

FORMAT = 1
_KEY = "defect_synth"

Kind = Literal["backbone", "dfmgan", "dfmgan-set", "training"]


class CheckpointInfo(BaseModel):
    """What a checkpoint says about itself: its model card in machine form.

    No clock time is in here, so that equal training gives equal bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: Kind
    model: ModelConfig
    category: str
    defect: str | None = None
    defects: tuple[str, ...] = ()
    trained_kimg: float = 0.0
    data_digest: str = ""
    num_images: int = 0
    training: dict[str, Any] = {}
    score: float | None = None
    origin: str = "defect-synth train"
    versions: dict[str, str] = {}
    licence_note: str = "Weights inherit the terms of the images they were trained on."


@dataclass(frozen=True)
class Checkpoint:
    """A loaded file: what it says, its tensors (float32, on the CPU) and the SHA-256 of its bytes."""

    info: CheckpointInfo
    tensors: dict[str, Tensor]
    digest: str
    path: Path


def library_versions() -> dict[str, str]:
    """Versions that can change the numbers."""
    found = {}
    for name in ("defect-synth", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def save_checkpoint(path: Path, info: CheckpointInfo, tensors: dict[str, Tensor]) -> None:
    """Write atomically: an interrupted save leaves the old file as it was.

    Raises:
        OutputError: The file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Header and tensors are sorted, so that equal content is equal bytes.
    header = json.dumps(info.model_dump(mode="json"), sort_keys=True)
    with replacing(path) as temporary:
        save_file(dict(sorted(plain.items())), temporary, metadata={_KEY: header})


def load_checkpoint(path: Path, kind: Kind | None = None) -> Checkpoint:
    """Read a file that `save_checkpoint` wrote.

    Args:
        path: A `.safetensors` file.
        kind: What it must be; None accepts all.

    Raises:
        CheckpointError: Missing, damaged, of another program, of a newer format or of another kind.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; train one with `defect-synth train`, or give the path of one")
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path} is a pickle, which is never loaded as it is; "
            f"convert it: `defect-synth import {path.name} -o model.safetensors`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise CheckpointError(f"{path} was not written by defect-synth: its header has no {_KEY!r} entry")
            info = CheckpointInfo.model_validate(json.loads(metadata[_KEY]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({str(error)[:80]}); copy it again or use an earlier snapshot"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{path} has settings this version cannot read: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None
    if info.format > FORMAT:
        raise CheckpointError(
            f"{path} has format {info.format}; this version reads up to {FORMAT}: upgrade defect-synth"
        )
    if kind is not None and info.kind != kind:
        raise CheckpointError(f"{path} holds a {info.kind} checkpoint, but a {kind} one is needed here")
    return Checkpoint(info, tensors, _digest(path), path)


def restore(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load a state_dict, strictly.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape: the file is of another architecture.
    """
    expected = module.state_dict()
    problems = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    problems += [f"{name} is not part of this network" for name in tensors.keys() - expected.keys()]
    problems += [
        f"{name} is {list(tensors[name].shape)} instead of {list(expected[name].shape)}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    if problems:
        raise CheckpointError(
            f"{path} is of another architecture: {sorted(problems)[0]} ({len(problems)} differences); "
            "use the preset and resolution it was trained with"
        )
    module.load_state_dict(tensors)


def build_generator(checkpoint: Checkpoint) -> Backbone | DFMGAN:
    """The network of a `backbone` or `dfmgan` checkpoint, ready to generate (eval mode, no gradients).

    Raises:
        CheckpointError: The tensors do not fit the configuration.
    """
    # Built without drawing initial weights: nothing here may depend on, or move, the global random state.
    with torch.device("meta"):
        network = (
            DFMGAN(checkpoint.info.model)
            if checkpoint.info.kind == "dfmgan"
            else Backbone(checkpoint.info.model.backbone)
        )
    network = network.to_empty(device="cpu")
    restore(network, checkpoint.tensors, checkpoint.path)
    return network.eval().requires_grad_(False)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
