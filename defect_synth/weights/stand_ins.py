"""Inert objects that stand for what a pickle of weights names.

A pickle can call what it names and give attributes to what it made. So nothing here has an effect, nothing here can be
changed, and only a `Function` can be called. Objects of torch are out of the pickle's reach until all of it is read.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from defect_synth.weights.budget import Budget

_MOST_DIMENSIONS = 8


class Function:
    """Stands for a function or a class that a pickle may call.

    Args:
        call: Takes whatever the pickle gives. It does work that is linear in the length of each argument at most, does
            not look into arguments of arguments, and never puts an argument into a message.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        self._call = call

    def __call__(self, *args: object) -> object:
        """What the stand-in gives for these arguments."""
        return self._call(*args)


class InertObject:
    """Stands for an object of any class and holds its attributes; it has no behaviour."""

    __slots__ = ("state",)
    state: Any

    def __init__(self, *_: object) -> None:
        """Accept any arguments: what they did to the real object is in its state."""
        self.state = {}


class Storage:
    """Stands for a torch storage.

    Args:
        dtype: Type of its elements.
        numel: How many there are.

    Attributes:
        dtype: As given.
        numel: As given.
        flat: Its elements, [numel]; None until they are read.
    """

    __slots__ = ("dtype", "flat", "numel")

    def __init__(self, dtype: torch.dtype, numel: int) -> None:
        self.dtype, self.numel = dtype, numel
        self.flat: Tensor | None = None


class TensorView:
    """Stands for a tensor until the whole file is read.

    Raises:
        pickle.UnpicklingError: It goes beyond its storage, or its layout is none.
    """

    __slots__ = ("_offset", "_shape", "_storage", "_stride")

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> None:
        numbers = (offset, *shape, *stride)
        if len(shape) != len(stride) or len(shape) > _MOST_DIMENSIONS or not all(0 <= n < 1 << 62 for n in numbers):
            raise pickle.UnpicklingError("a tensor without a possible layout")
        last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
        if 0 not in shape and last >= storage.numel:
            raise pickle.UnpicklingError("a tensor that goes beyond its storage")
        self._storage, self._offset, self._shape, self._stride = storage, offset, shape, stride

    def read(self, budget: Budget) -> Tensor:
        """The tensor: contiguous, on the memory of its storage where that is possible.

        Raises:
            pickle.UnpicklingError: The file does not hold its storage, or its tensors are larger than the file.
        """
        budget.spend_elements(self._shape)
        if self._storage.flat is None:
            raise pickle.UnpicklingError("a tensor whose storage is not in the file")
        if 0 in self._shape:
            return self._storage.flat.new_empty(self._shape)
        return self._storage.flat.as_strided(self._shape, self._stride, self._offset).contiguous()


def options(items: object = (), *_: object) -> dict[Any, Any]:
    """Stands for `OrderedDict` and its like, called with nothing or with a list of pairs."""
    found: dict[Any, Any] = {}
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError("a dictionary that is not made of pairs")
    for pair in items:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise pickle.UnpicklingError("a dictionary that is not made of pairs")
        found[safe_key(pair[0])] = pair[1]
    return found


def safe_key(value: object) -> str | int:
    """A key of a dictionary, or an element of a set.

    Comparing two tuples that share their parts takes for ever, and a deep one overflows the stack: both happen inside
    a dictionary, where nothing can stop them. Large integers can be made to collide.

    Raises:
        pickle.UnpicklingError: It is neither text nor a small integer.
    """
    if type(value) is str or (type(value) in (int, bool) and -(1 << 31) <= value < 1 << 31):  # type: ignore[operator]
        return value  # type: ignore[return-value]
    raise pickle.UnpicklingError("a key of a dictionary that is neither text nor a small number")


def _set(items: object = ()) -> set[str | int]:
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError("a set that is not made of a list")
    return {safe_key(item) for item in items}


def _tuple(items: object = ()) -> tuple[Any, ...]:
    if not isinstance(items, list | tuple):
        raise pickle.UnpicklingError("a size that is not made of a list")
    return tuple(items)


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> TensorView:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without storage")
    layout = (offset, *_tuple(shape), *_tuple(stride))
    if not all(type(number) is int for number in layout):
        raise pickle.UnpicklingError("a tensor without a possible layout")
    return TensorView(storage, offset, _tuple(shape), _tuple(stride))  # type: ignore[arg-type]


def _parameter(data: object, *_: object) -> TensorView:
    if not isinstance(data, TensorView):
        raise pickle.UnpicklingError("a parameter without tensor")
    return data


OPTIONS, SIZE = Function(options), Function(_tuple)
TENSOR_NAMES: dict[tuple[str, str], object] = {
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_parameter),
    ("torch.nn.parameter", "Parameter"): Function(_parameter),
    ("torch", "Size"): SIZE,
    ("torch", "device"): Function(lambda *_: "device"),
    **{("torch", name): name for name in ("float16", "bfloat16", "float32", "float64", "uint8", "int64", "bool")},
    **{("torch", name): name for name in ("contiguous_format", "channels_last", "preserve_format")},
    ("collections", "OrderedDict"): OPTIONS,
    ("builtins", "set"): Function(_set),
    ("builtins", "frozenset"): Function(lambda items=(): frozenset(_set(items))),
}
"""Name -> stand-in, of everything around tensors that holds no more than data."""
