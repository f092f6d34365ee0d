"""Inert objects that stand for everything that a StyleGAN2-ADA or DFMGAN snapshot may name.

A pickle can call what it names, make instances of it and set attributes on either (opcode BUILD). So nothing here has
an effect, and nothing here can be changed. Every class has a `__setstate__`, which BUILD must use; it takes an
instance, so it cannot change the class, and built-in types cannot be changed at all. Functions are objects that refuse
it, and tensors are out of the pickle's reach.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor


class InertObject:
    """Stands for an object of the snapshot and holds its attributes; it has no behaviour."""

    __slots__ = ("state",)
    state: Any

    def __new__(cls, *_: object) -> InertObject:
        """Accept any arguments: what they did to the real object is in its state."""
        created = super().__new__(cls)
        created.state = {}
        return created

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Options(dict[Any, Any]):
    """Stands for `EasyDict` and `OrderedDict`."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Ignore attributes beside the items, which nothing reads."""


class _Dtype:
    """Stands for `numpy.dtype`: a code such as `f8`, and a byte order."""

    __slots__ = ("code", "order")
    code: str
    order: str

    def __new__(cls, code: str = "", *_: object) -> _Dtype:
        dtype = super().__new__(cls)
        dtype.code, dtype.order = code, "="
        return dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class Storage:
    """Stands for a torch storage: a flat tensor that the pickle itself cannot reach."""

    __slots__ = ("_flat",)

    def __init__(self, flat: Tensor) -> None:
        self._flat = flat

    def view(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A tensor on this memory; RuntimeError where it would go beyond."""
        return self._flat.as_strided(size, stride, offset)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("attempt to change a storage")


class TensorView:
    """Stands for a tensor until the whole file is read, so that the pickle never holds a real one."""

    __slots__ = ("_layout", "_storage")

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self._storage, self._layout = storage, (offset, size, stride)

    def read(self) -> Tensor:
        """A float32 copy, as tensors of one file may share memory, which safetensors cannot store."""
        return self._storage.view(*self._layout).to(torch.float32, copy=True, memory_format=torch.contiguous_format)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("attempt to change a tensor")


class Function:
    """Stands for a function; unlike a Python function, it cannot be given attributes."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        """Called by the opcode REDUCE."""
        return self._call(*args)

    def __setstate__(self, state: object) -> NoReturn:
        raise pickle.UnpicklingError("attempt to change a function")


def _persistent_object(meta: Any, *_: object) -> InertObject:
    """The attributes of a persistent object; its source text (`module_src`) is not read."""
    found = InertObject()
    found.state = meta["state"]
    return found


def _reconstruct(kind: object, _base: object = None, state: object = None) -> object:
    """Make an object as pickle protocols 0 and 1 do, of our stand-ins only."""
    if kind is _Options:
        return _Options(state) if isinstance(state, dict) else _Options()
    if kind is InertObject:
        return InertObject()
    raise pickle.UnpicklingError("an object of an unexpected class")


def _new_object(kind: object, *_: object) -> object:
    return _reconstruct(kind)


def _tensor(storage: object, offset: int, size: Any, stride: Any, *_: object) -> TensorView:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    return TensorView(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: object, *_: object) -> TensorView:
    if not isinstance(data, TensorView):
        raise pickle.UnpicklingError("a parameter without tensor")
    return data


def _numpy_scalar(dtype: object, data: object) -> float | int | bool:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a damaged NumPy scalar")
    code = dtype.order + dtype.code
    if not re.fullmatch("[<>=|](b1|[fiu][1248])", code):
        raise pickle.UnpicklingError("a NumPy scalar that is not a number")
    value: float | int | bool = np.frombuffer(data, code)[0].item()
    return value


def _encode(text: object, encoding: object) -> bytes:
    """Bytes as protocols 0 to 2 write them; other codecs are refused, as some of them decompress."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding}")
    return text.encode("latin1")


_ANY_ARGUMENTS = Function(lambda *_: InertObject())
GLOBALS: dict[tuple[str, str], object] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Function(_persistent_object),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_parameter),
    ("torch.nn.parameter", "Parameter"): Function(_parameter),
    ("torch.nn.modules.padding", "ReplicationPad2d"): InertObject,
    ("torch", "device"): Function(lambda *args: ":".join(map(str, args))),
    ("torch", "Size"): tuple,
    **{("torch", name): name for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int64", "bool")},
    **{("torch", name): name for name in ("contiguous_format", "channels_last", "preserve_format")},
    ("collections", "OrderedDict"): _Options,
    ("dnnlib.util", "EasyDict"): _Options,
    ("numpy.core.multiarray", "scalar"): Function(_numpy_scalar),
    ("numpy.core.multiarray", "_reconstruct"): _ANY_ARGUMENTS,
    ("numpy.core.numeric", "_frombuffer"): _ANY_ARGUMENTS,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "ndarray",
    ("_codecs", "encode"): Function(_encode),
    ("copyreg", "_reconstructor"): Function(_reconstruct),
    ("copyreg", "__newobj__"): Function(_new_object),
    **{("builtins", name): name for name in ("object", "dict", "list")},  # base classes in protocols 0 and 1
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
}
