"""Read a pickled snapshot of the authors' trainer, or of StyleGAN2-ADA, without executing anything in it.

Such a file is a pickle of whole networks, each with the source text of its own class, which the original loader
executes. Here every name that the pickle may mention stands for an inert object (`standins`), any other name is
refused, and the source text is not read. What remains is data, constructor arguments and tensors, and all of it is
counted before it is built (`weights/`).
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from torch import Tensor, float32

from defect_synth.dfmgan.official.standins import GLOBALS
from defect_synth.errors import CheckpointError, DataError
from defect_synth.files import MIB, open_file
from defect_synth.names import printable
from defect_synth.weights.budget import Budget
from defect_synth.weights.pickle_machine import PickleMachine
from defect_synth.weights.stand_ins import TENSOR_NAMES, Function, InertObject, Storage, TensorView
from defect_synth.weights.torch_file import opened_archive, opened_weights, read_torch_file

NETWORKS = ("G", "G_ema", "D", "D_match")
_EXPECTED = "a network-snapshot-*.pkl of the authors' trainer or of StyleGAN2-ADA"
_MOST_BYTES = 1024 * MIB  # the largest networks, at 1024 px, need 400
_DEEPEST = 32  # modules in modules, and lists in lists of arguments
_MOST_ARGUMENTS = 10_000
_LONGEST_TEXT = 1000  # characters of an argument


@dataclass(frozen=True)
class NetworkState:
    """The data of one pickled network.

    Attributes:
        init_kwargs: Constructor arguments as plain values: dict, list, str, int, float, bool, None.
        tensors: Name in the authors' `state_dict`, such as `synthesis.b4.const` -> float32 tensor with its own memory.
    """

    init_kwargs: dict[str, Any]
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class OfficialSnapshot:
    """The networks of one file by name, of `G`, `G_ema`, `D` and `D_match`: those that it holds."""

    path: Path
    networks: Mapping[str, NetworkState]


def read_snapshot(path: str | Path) -> OfficialSnapshot:
    """Read the constructor arguments and tensors of every network in a snapshot.

    Raises:
        CheckpointError: The file is missing, of another kind, damaged, or refers to anything but data.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; expected {_EXPECTED}")
    try:
        found = _other_format(path)
        if found:
            raise CheckpointError(f"{path} is {found}; expected {_EXPECTED}")
        with opened_weights(path) as (file, size):
            if size > _MOST_BYTES:
                raise CheckpointError(f"{path} has {size / MIB:.0f} MiB, at most {_MOST_BYTES / MIB:g} are read")
            budget = Budget(size)
            return _snapshot(path, PickleMachine(file, budget, _Names(path, budget).stand_in).load(), budget)
    except (CheckpointError, MemoryError):
        raise
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # all objects here are ours or builtins, so the file is the cause
        reason = _short(" ".join(str(error).split())) or type(error).__name__
        kind = "is cut short or damaged" if _starts_like_a_pickle(path) else "is not a pickle"
        raise CheckpointError(f"{path} {kind} ({reason}); expected {_EXPECTED}") from error


def _snapshot(path: Path, content: object, budget: Budget) -> OfficialSnapshot:
    if not isinstance(content, dict) or not any(name in content for name in NETWORKS):
        keys = ", ".join(str(key)[:40] for key in [*content][:20]) if isinstance(content, dict) else _kind(content)
        raise CheckpointError(
            f"{path} is a pickle without any of {', '.join(NETWORKS)} (found: {_short(keys) or 'nothing'}); "
            f"expected {_EXPECTED}"
        )
    networks = {}
    for name in NETWORKS:
        module = content.get(name)
        if module is None:
            continue
        if not isinstance(module, InertObject) or not isinstance(module.state, dict):
            raise CheckpointError(f"{path}: {name} is not a network but {_kind(module)}; expected {_EXPECTED}")
        state = module.state
        arguments = state.get("_init_kwargs", state.get("init_kwargs"))
        if not isinstance(arguments, dict):
            raise CheckpointError(f"{path}: {name} has no _init_kwargs, so its size is unknown; expected {_EXPECTED}")
        tensors: dict[str, Tensor] = {}
        _collect(module, "", tensors, budget)
        networks[name] = NetworkState(_Plain().values(arguments), tensors)
    return OfficialSnapshot(path, networks)


def _collect(module: object, prefix: str, into: dict[str, Tensor], budget: Budget, depth: int = 0) -> None:
    """Add the tensors below `module` to `into`, named as `nn.Module.state_dict` would."""
    if not isinstance(module, InertObject) or not isinstance(module.state, dict):
        raise pickle.UnpicklingError(f"{prefix or 'network'} is not a module")
    budget.spend_steps()
    if depth > _DEEPEST:
        raise pickle.UnpicklingError(f"modules are nested more than {_DEEPEST} deep")
    transient = _part(module, "_non_persistent_buffers_set", set)
    for group in ("_parameters", "_buffers"):
        for name, tensor in _part(module, group, dict).items():
            if tensor is None or (group == "_buffers" and name in transient):
                continue
            if not isinstance(tensor, TensorView):
                raise pickle.UnpicklingError(f"{prefix}{name} is not a tensor")
            budget.spend_steps()
            # A copy, as tensors of one file may share memory, which safetensors cannot store.
            into[f"{prefix}{name}"] = tensor.read(budget).to(float32, copy=True)
    for name, child in _part(module, "_modules", dict).items():
        if child is not None:
            _collect(child, f"{prefix}{name}.", into, budget, depth + 1)


def _part(module: InertObject, name: str, kind: type) -> Any:
    found = module.state.get(name, kind())
    if not isinstance(found, kind):
        raise pickle.UnpicklingError(f"{name} of a module is not a {kind.__name__}")
    return found


class _Plain:
    """Constructor arguments as JSON-like values; anything else becomes the name of its type.

    A value can be in many places of a pickle, so what is small there could be endless as JSON: it is counted here.
    """

    def __init__(self) -> None:
        self._left = _MOST_ARGUMENTS

    def values(self, arguments: Mapping[Any, Any], depth: int = 0) -> dict[str, Any]:
        """A dictionary of arguments."""
        return {self._value(str(key), depth): self._value(item, depth + 1) for key, item in arguments.items()}

    def _value(self, value: object, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _DEEPEST or (isinstance(value, str) and len(value) > _LONGEST_TEXT):
            raise pickle.UnpicklingError("the arguments of a network are too many, too long or nested too deeply")
        if isinstance(value, dict):
            return self.values(value, depth)
        if isinstance(value, list | tuple):
            return [self._value(item, depth + 1) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        return f"<{_kind(value)}>"


def _kind(value: object) -> str:
    return type(value).__name__.strip("_")


def _other_format(path: Path) -> str:
    """What a file that is not a snapshot is, by its first bytes; empty if it may be one."""
    with open_file(path) as file:
        head = file.read(64)
        if not head:
            return "empty"
        if head.startswith(b"PK\x03\x04"):
            return _zip_kind(file)
    if head.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."):
        return "a file written by torch.save (old format)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < path.stat().st_size:
        return "a safetensors file"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page (download the file behind it instead)"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (run git lfs pull)"
    if head.startswith(b"\x1f\x8b"):
        return "gzip-compressed (unpack it first)"
    return ""


def _starts_like_a_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) == b"\x80"  # pickle protocol 2 and later; snapshots have 3 or 4


def _zip_kind(file: BinaryIO) -> str:
    try:
        with opened_archive(file, file.seek(0, 2)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip file"
    return "a file written by torch.save" if any(name.endswith("/data.pkl") for name in names) else "a zip archive"


def _short(text: str) -> str:
    """Text from a foreign file, short and safe for a terminal."""
    return printable(text)[:160]


_RENAMED = {  # names of Python 2, which protocols 0 to 2 use, and of NumPy 2
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}


class _Names:
    """What the names in a snapshot stand for: those in `GLOBALS`, and the storages of its tensors.

    A name is looked up as a whole, so `torch` with `serialization.os.system` finds nothing.
    """

    def __init__(self, path: Path, budget: Budget) -> None:
        self._path, self._budget = path, budget
        self._load = Function(self._storage)

    def stand_in(self, module_name: str, name: str) -> object:
        """The stand-in for a name of the snapshot itself."""
        module = _RENAMED.get(module_name, module_name)
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return self._load
        if (module, name) in GLOBALS:
            return GLOBALS[module, name]
        if module.startswith("dnnlib.tflib"):
            raise CheckpointError(
                f"{self._path} is a TensorFlow StyleGAN2 pickle; convert it with StyleGAN2-ADA's legacy.py"
            )
        self._refuse(module, name)

    def _in_storage(self, module_name: str, name: str) -> object:
        module = _RENAMED.get(module_name, module_name)
        return TENSOR_NAMES.get((module, name)) or self._refuse(module, name)

    def _refuse(self, module: str, name: str) -> NoReturn:
        raise CheckpointError(
            f"{self._path} refers to {_short(f'{module}.{name}')}, which no StyleGAN2/DFMGAN snapshot needs; refused, "
            "nothing was executed"
        )

    def _storage(self, data: object = None) -> Storage:
        """A storage from the bytes of a file of torch.save, as torch nests them."""
        if not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("a tensor storage that is not bytes")
        storage = read_torch_file(io.BytesIO(data), len(data), self._budget, self._in_storage)
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError("a tensor storage that is something else")
        return storage
