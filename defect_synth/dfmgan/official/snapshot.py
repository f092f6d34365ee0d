"""Read a pickled snapshot of the authors' trainer, or of StyleGAN2-ADA, without executing anything in it.

Such a file is a pickle of whole networks, each with the source text of its own class, which the original loader
executes. Here every name that the pickle may mention stands for an inert object (`standins`), any other name is
refused, and the source text is not read. What remains is data: constructor arguments, and tensors whose bytes are read
by `torch.load(weights_only=True)`.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from defect_synth.dfmgan.official.standins import GLOBALS, Function, InertObject, Storage, TensorView
from defect_synth.errors import CheckpointError

NETWORKS = ("G", "G_ema", "D", "D_match")
_EXPECTED = "a network-snapshot-*.pkl of the authors' trainer or of StyleGAN2-ADA"


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
        with path.open("rb") as file:
            found = _other_format(path, file)
            if found:
                raise CheckpointError(f"{path} is {found}; expected {_EXPECTED}")
            content = _Reader(file, path).load()
        return _snapshot(path, content)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # all objects here are ours or builtins, so the file is the cause
        reason = _printable(" ".join(str(error).split())) or type(error).__name__
        kind = "is cut short or damaged" if _starts_like_a_pickle(path) else "is not a pickle"
        raise CheckpointError(f"{path} {kind} ({reason}); expected {_EXPECTED}") from error


def _snapshot(path: Path, content: object) -> OfficialSnapshot:
    if not isinstance(content, dict) or not any(name in content for name in NETWORKS):
        keys = ", ".join(str(key) for key in content) if isinstance(content, dict) else type(content).__name__
        raise CheckpointError(
            f"{path} is a pickle without any of {', '.join(NETWORKS)} (found: {_printable(keys) or 'nothing'}); "
            f"expected {_EXPECTED}"
        )
    networks = {}
    for name in NETWORKS:
        module = content.get(name)
        if module is None:
            continue
        if not isinstance(module, InertObject) or not isinstance(module.state, dict):
            raise CheckpointError(f"{path}: {name} is not a network but {type(module).__name__}; expected {_EXPECTED}")
        state = module.state
        arguments = state.get("_init_kwargs", state.get("init_kwargs"))
        if not isinstance(arguments, dict):
            raise CheckpointError(f"{path}: {name} has no _init_kwargs, so its size is unknown; expected {_EXPECTED}")
        tensors: dict[str, Tensor] = {}
        _collect(module, "", tensors)
        networks[name] = NetworkState({str(key): _plain(value) for key, value in arguments.items()}, tensors)
    return OfficialSnapshot(path, networks)


def _collect(module: InertObject, prefix: str, into: dict[str, Tensor]) -> None:
    """Add the tensors below `module` to `into`, named as `nn.Module.state_dict` would."""
    if not isinstance(module, InertObject):
        raise pickle.UnpicklingError(f"{prefix or 'network'} is not a module")
    transient = module.state.get("_non_persistent_buffers_set", ())
    for group in ("_parameters", "_buffers"):
        for name, tensor in module.state.get(group, {}).items():
            if tensor is None or (group == "_buffers" and name in transient):
                continue
            if not isinstance(tensor, TensorView):
                raise pickle.UnpicklingError(f"{prefix}{name} is not a tensor")
            into[prefix + name] = tensor.read()
    for name, child in module.state.get("_modules", {}).items():
        if child is not None:
            _collect(child, f"{prefix}{name}.", into)


def _plain(value: object) -> Any:
    """Constructor arguments as JSON-like values; anything else becomes the name of its type."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return f"<{type(value).__name__.strip('_')}>"


def _other_format(path: Path, file: BinaryIO) -> str:
    """What a file that is not a snapshot is, by its first bytes; empty if it may be one."""
    head = file.read(64)
    file.seek(0)
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
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


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip file"
    return "a file written by torch.save" if any(name.endswith("/data.pkl") for name in names) else "a zip archive"


def _printable(text: str) -> str:
    """Text from a foreign file, short and safe for a terminal."""
    return text.encode("unicode_escape").decode("ascii")[:160]


_RENAMED = {  # names of Python 2, which protocols 0 to 2 use, and of NumPy 2
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}


class _Reader(pickle.Unpickler):
    """An unpickler that knows the names in `GLOBALS` and no others.

    A name is looked up as a whole, so `torch` with `serialization.os.system` finds nothing, and the parent class
    refuses persistent ids. Whatever the pickle can call, change or give attributes is then an inert stand-in.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        module = _RENAMED.get(module_name, module_name)
        if (module, global_name) == ("torch.storage", "_load_from_bytes"):
            return Function(self._storage)
        if (module, global_name) in GLOBALS:
            return GLOBALS[module, global_name]
        if module.startswith("dnnlib.tflib"):
            raise CheckpointError(
                f"{self._path} is a TensorFlow StyleGAN2 pickle; convert it with StyleGAN2-ADA's legacy.py"
            )
        raise _refused(self._path, f"{module}.{global_name}")

    def _storage(self, data: object) -> Storage:
        if not isinstance(data, bytes | bytearray):
            raise pickle.UnpicklingError("a tensor storage that is not bytes")
        try:
            storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            name = re.search(r"GLOBAL (\S+)", str(error))  # the only place where torch says which name it refused
            if name:
                raise _refused(self._path, name[1]) from None
            raise
        if not isinstance(storage, torch.storage.TypedStorage):
            raise pickle.UnpicklingError(f"a tensor storage that is {type(storage).__name__}")
        return Storage(torch.empty(0, dtype=storage.dtype).set_(storage))


def _refused(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        f"{path} refers to {_printable(name)}, which no StyleGAN2/DFMGAN snapshot needs; refused, nothing was executed"
    )
