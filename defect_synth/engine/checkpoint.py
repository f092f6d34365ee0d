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

from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn

from defect_synth.atomic import replacing
from defect_synth.config import Count, Frozen, Kimg, Name, PlainValues, Text, validated
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.files import parse_json
from defect_synth.names import names_in
from defect_synth.weights.finite import require_finite
from defect_synth.weights.safetensors_file import opened_safetensors

FORMAT = 1
_KEY = "defect_synth"
_PAINTER_KEY_OF_0_1 = "defect_synth_painter"
_REMEDY = "copy it again or use an earlier snapshot"


class Card(Frozen):
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

    format: int = Field(FORMAT, ge=0, le=FORMAT)
    kind: str
    category: Name
    trained_kimg: Kimg = 0.0
    training: PlainValues = Field(default_factory=dict)
    versions: dict[Text, Text] = Field(default_factory=dict)
    licence_note: Text = "Weights inherit the terms of the images they were trained on."


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
    method: Text
    defect: Name | None = None
    data_digest: Text = ""
    num_images: Count = 0
    networks: PlainValues = Field(default_factory=dict)


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
        with opened_safetensors(path, "numpy", _REMEDY) as file:
            values = parse_json(_header(file.metadata() or {}) or "null", path)
    except (CheckpointError, DataError):
        return None
    return str(values["kind"])[:40] if isinstance(values, dict) and "kind" in values else None


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
    with opened_safetensors(path, "pt", _REMEDY) as file:
        yield file


def _header(metadata: Mapping[str, str]) -> str | None:
    return metadata.get(_KEY) or metadata.get(_PAINTER_KEY_OF_0_1)


def _parsed(path: Path, file: Any, card: type[CardT], kind: str | None) -> CardT:
    """The card in a file's header; the kind is compared before the fields, which differ between kinds."""
    header = _header(file.metadata() or {})
    if header is None:
        raise CheckpointError(f"{path} was not written by defect-synth: its header has no {_KEY!r} entry")
    try:
        values = parse_json(header, path)
    except DataError as error:
        raise CheckpointError(f"{error}, in its header: the file is damaged; {_REMEDY}") from None
    if isinstance(values, dict):
        known = get_args(card.model_fields["kind"].annotation) if kind is None else (kind,)
        if "kind" in values and known and values["kind"] not in known:
            found = str(values["kind"])[:40]
            raise CheckpointError(f"{path} holds a {found} checkpoint, but a {known[0]} one is needed here")
        newer = values.get("format", 0)
        if isinstance(newer, int) and newer > FORMAT:
            raise CheckpointError(f"{path} has format {newer}; this version reads up to {FORMAT}: upgrade defect-synth")
    return checked_card(card, values, path)


def checked_card(card: type[CardT], values: Any, path: Path) -> CardT:
    """A card from the values in a file.

    Raises:
        CheckpointError: Names the field, what was found, and the bound.
        InvalidNameError: Its category or a defect is no name.
    """
    try:
        with names_in(path):
            return validated(card, values)
    except ConfigError as error:
        raise CheckpointError(f"{path} has settings this version cannot read: {error}") from None


def restore(module: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load a state_dict, strictly.

    A module on the meta device gets memory on the CPU, once the tensors are known to fit: a card alone can ask for any
    size.

    Raises:
        CheckpointError: A tensor is missing, unknown or of another shape or kind: the file is of another architecture;
            or a tensor holds NaN or infinity.
    """
    expected = module.state_dict()
    problems = [f"{name} is missing" for name in expected.keys() - tensors.keys()]
    problems += [f"{name[:100]} is not part of this network" for name in tensors.keys() - expected.keys()]
    for name in sorted(expected.keys() & tensors.keys()):
        found, wanted = tensors[name], expected[name]
        if found.shape != wanted.shape:
            problems.append(f"{name} is {list(found.shape)} instead of {list(wanted.shape)}")
        elif found.is_floating_point() != wanted.is_floating_point():
            problems.append(f"{name} is {found.dtype} instead of {wanted.dtype}")
    if problems:
        raise CheckpointError(
            f"{path} is of another architecture: {sorted(problems)[0]} ({len(problems)} differences); "
            "use the preset and resolution it was trained with"
        )
    require_finite(tensors, path)
    if any(tensor.is_meta for tensor in expected.values()):
        module.to_empty(device="cpu")
    module.load_state_dict(dict(tensors))
