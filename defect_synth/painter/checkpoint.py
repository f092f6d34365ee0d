"""A painter in one safetensors file: networks, and what it needs to know of the product (donors, masks, normals).

Pictures travel as PNG bytes in uint8 tensors. Nothing executable is stored or loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from defect_synth.atomic import replacing
from defect_synth.errors import CheckpointError
from defect_synth.painter.network import PainterModel, PainterModelConfig

FORMAT = 1
_KEY = "defect_synth_painter"


class PainterInfo(BaseModel):
    """What a painter says about itself: its model card in machine form. No clock time, so equal training, equal bytes.

    `product` is JSON that `painter.Painter` writes and reads: symmetry, shapes, scales of donors, colour statistics.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: Literal["painter"] = "painter"
    model: PainterModelConfig
    category: str
    defects: tuple[str, ...]
    reference: int
    product: dict[str, Any]
    trained_kimg: float = 0.0
    judges: str = ""
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    licence_note: str = "Weights and pictures inside inherit the terms of the images they were made from."


@dataclass(frozen=True, eq=False)
class PainterCheckpoint:
    """A loaded file: the card, the network (evaluation mode), the other tensors and the SHA-256 of the bytes."""

    info: PainterInfo
    network: PainterModel
    luggage: dict[str, Tensor]
    digest: str


def save_painter(
    path: Path, info: PainterInfo, weights: Mapping[str, Tensor], luggage: Mapping[str, Tensor], *, half: bool = False
) -> None:
    """Write a painter, whole or not at all.

    Args:
        path: A `.safetensors` file.
        info: The card.
        weights: State of a `PainterModel`.
        luggage: Pictures, by name.
        half: Store the weights as float16: half the size, and a difference nobody sees.

    Raises:
        OutputError: The file cannot be written.
    """
    tensors = {f"model.{name}": _plain(value.half() if half else value) for name, value in weights.items()}
    tensors |= {f"luggage.{name}": _plain(value) for name, value in luggage.items()}
    header = json.dumps(info.model_dump(mode="json"), sort_keys=True)
    with replacing(path) as temporary:
        save_file(dict(sorted(tensors.items())), temporary, metadata={_KEY: header})


def _plain(value: Tensor) -> Tensor:
    return value.detach().cpu().contiguous()


def is_painter(path: Path) -> bool:
    """Whether a file is a painter's checkpoint; False for anything else, readable or not."""
    try:
        with safe_open(path, framework="numpy") as file:
            return _KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def load_painter(path: Path) -> PainterCheckpoint:
    """Read what `save_painter` wrote.

    Raises:
        CheckpointError: Missing, damaged, of another program, of a newer format.
    """
    if not path.is_file():
        raise CheckpointError(f"no painter at {path}; train one with `defect-synth train DATA --method painter`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if _KEY not in metadata:
                raise CheckpointError(f"{path} is no painter: its header has no {_KEY!r} entry; give a painter's file")
            values = json.loads(metadata[_KEY])
            if isinstance(values, dict) and int(values.get("format", 0)) > FORMAT:
                raise CheckpointError(
                    f"{path} has format {values['format']}; this version reads up to {FORMAT}: upgrade defect-synth"
                )
            info = PainterInfo.model_validate(values)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise CheckpointError(f"{path} has a card this version cannot read: {where}: {first['msg']}") from None
        raise CheckpointError(f"{path} is damaged ({str(error)[:80]}); copy it again or train anew") from None
    with torch.device("meta"):  # no initial weights are drawn: the global random state stays as it is
        network = PainterModel(info.model, len(info.defects))
    network = network.to_empty(device="cpu")
    weights = {n.removeprefix("model."): t.float() for n, t in tensors.items() if n.startswith("model.")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} is of another architecture: {str(error).splitlines()[-1].strip()[:120]}"
        ) from None
    network = network.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]
    luggage = {n.removeprefix("luggage."): t for n, t in tensors.items() if n.startswith("luggage.")}
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return PainterCheckpoint(info, network, luggage, digest)
