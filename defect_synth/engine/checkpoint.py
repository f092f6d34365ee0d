"""A card and tensors in one safetensors file; nothing executable is ever stored or loaded.

Each method declares its card, a subclass of `Card`, beside its networks; this file reads and writes any of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from defect_synth.atomic import replacing
from defect_synth.config import Name
from defect_synth.errors import CheckpointError
from defect_synth.names import names_in

FORMAT = 1
_KEY = "defect_synth"
_PAINTER_KEY_OF_0_1 = "defect_synth_painter"


class Card(BaseModel):
    """What a checkpoint says about itself: its model card in machine-readable form.

    It contains no clock time, so that equal training gives equal bytes. `kind` is a `Literal` in each subclass.

    Attributes:
        format: Version of the file format.
        kind: Which card this is.
        category: Object category.
        trained_kimg: Thousands of training images that the stored weights have seen.
        training: The settings of the training, as plain values.
        versions: Versions of the libraries that can change the numbers.
        licence_note: Whose terms the weights inherit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    kind: str
    category: Name
    trained_kimg: float = 0.0
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    licence_note: str = "Weights inherit the terms of the images they were trained on."


class TrainingCard(Card):
    """Card of a snapshot from which a stage can be resumed, and of networks that have no card of their own.

    Attributes:
        method: Name of the method, such as `dfmgan`.
        defect: The defect category that the stage trains on; None: all of them, or none.
        data_digest: Identifies the training images.
        num_images: How many there are.
        networks: Sizes of the networks, as plain values.
    """

    kind: Literal["training"] = "training"
    method: str
    defect: Name | None = None
    data_digest: str = ""
    num_images: int = 0
    networks: dict[str, Any] = {}


CardT = TypeVar("CardT", bound=Card)


@dataclass(frozen=True, eq=False)
class Checkpoint(Generic[CardT]):
    """A loaded file: its card, its tensors on the CPU, the SHA-256 of its bytes, and where it lies."""

    card: CardT
    tensors: dict[str, Tensor]
    digest: str
    path: Path


def library_versions() -> dict[str, str]:
    """Versions of the libraries that can change the numbers."""
    found = {}
    for name in ("defect-synth", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def save_checkpoint(path: Path, card: Card, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint; an interrupted save leaves the old file as it was.

    Raises:
        OutputError: The file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Header and tensors are sorted, so that equal content is equal bytes.
    header = json.dumps(card.model_dump(mode="json"), sort_keys=True)
    with replacing(path) as temporary:
        save_file(dict(sorted(plain.items())), temporary, metadata={_KEY: header})


def checkpoint_kind(path: Path) -> str | None:
    """The `kind` of a checkpoint, read from its header alone; None for any other file, readable or not."""
    try:
        with safe_open(path, framework="numpy") as file:
            values = json.loads(_header(file.metadata() or {}) or "null")
    except (SafetensorError, OSError, ValueError):
        return None
    return str(values["kind"]) if isinstance(values, dict) and "kind" in values else None


def read_card(path: Path, card: type[CardT], kind: str | None = None) -> CardT:
    """Read the card of a checkpoint without its tensors.

    Args:
        path: A `.safetensors` file that `save_checkpoint` wrote.
        card: The card that it must have.
        kind: Which kind it must be, where the card allows several; None: any of them.

    Raises:
        CheckpointError: The file is missing, damaged, of another program, of a newer format or of another kind.
        InvalidNameError: Its category or a defect is no name.
    """
    with _opened(path) as file:
        return _parsed(path, file, card, kind)


def load_checkpoint(path: Path, card: type[CardT], kind: str | None = None) -> Checkpoint[CardT]:
    """Read a file that `save_checkpoint` wrote.

    Args:
        path: A `.safetensors` file.
        card: The card that it must have.
        kind: Which kind it must be, where the card allows several; None: any of them.

    Raises:
        CheckpointError: The file is missing, damaged, of another program, of a newer format or of another kind.
        InvalidNameError: Its category or a defect is no name.
    """
    with _opened(path) as file:
        found = _parsed(path, file, card, kind)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Checkpoint(found, tensors, digest, path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The open safetensors file; what is wrong with it is told in one line."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}; train one with `defect-synth train`, or give the path of one")
    if path.suffix == ".pkl":
        raise CheckpointError(
            f"{path} is a pickle, which is never loaded as it is; "
            f"convert it: `defect-synth import {path.name} -o model.safetensors`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({str(error)[:80]}); copy it again or use an earlier snapshot"
        ) from None


def _header(metadata: Mapping[str, str]) -> str | None:
    return metadata.get(_KEY) or metadata.get(_PAINTER_KEY_OF_0_1)


def _parsed(path: Path, file: Any, card: type[CardT], kind: str | None) -> CardT:
    """The card in a file's header; the kind is compared before the fields, which differ between kinds."""
    header = _header(file.metadata() or {})
    if header is None:
        raise CheckpointError(f"{path} was not written by defect-synth: its header has no {_KEY!r} entry")
    values = json.loads(header)
    if isinstance(values, dict):
        known = get_args(card.model_fields["kind"].annotation) if kind is None else (kind,)
        if "kind" in values and known and values["kind"] not in known:
            raise CheckpointError(f"{path} holds a {values['kind']} checkpoint, but a {known[0]} one is needed here")
        newer = values.get("format", 0)
        if isinstance(newer, int) and newer > FORMAT:
            raise CheckpointError(f"{path} has format {newer}; this version reads up to {FORMAT}: upgrade defect-synth")
    try:
        with names_in(path):
            return card.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{path} has settings this version cannot read: {'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from None


def restore(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
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
    module.load_state_dict(dict(tensors))
