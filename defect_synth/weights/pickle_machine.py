"""Carry out a pickle from a stranger with inert objects, counting every step.

The unpickler of the standard library makes whatever a pickle asks for, in compiled code that nothing can stop: nine
bytes are a table of gigabytes, a few hundred are a comparison that never ends. Here `pickletools` takes the file apart
and each opcode is a line of Python. So every step is counted, Ctrl-C works, and what cannot be made cannot do harm:
there are plain values, lists, tuples, sets, dictionaries with text as keys, and stand-ins.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from defect_synth.weights.budget import Budget
from defect_synth.weights.stand_ins import Function, InertObject, Storage, TensorView, safe_key

_MOST_BITS = 128  # of an integer: the magic number of torch has 77
_NEWEST_PROTOCOL = 5

NameLookup = Callable[[str, str], object]
"""Module and name -> stand-in; raises for a name that no file of weights needs."""
PersistentLookup = Callable[[object], object]
"""A persistent id -> what it stands for."""


class PickleMachine:
    """Carries out one pickle.

    Args:
        file: Bytes in memory or a memory map, which is read from where it is to the end of the pickle.
        budget: Is shared by all pickles of a file.
        names: What the names in the pickle stand for.
        persistent: What persistent ids stand for; None: there must be none.
    """

    def __init__(
        self, file: BinaryIO, budget: Budget, names: NameLookup, persistent: PersistentLookup | None = None
    ) -> None:
        self._file, self._budget, self._names, self._persistent = file, budget, names, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Any] = {}

    def load(self) -> object:
        """What the pickle stands for.

        Raises:
            pickle.UnpicklingError: It does something that no file of weights needs, or too much of it.
            ValueError: It is cut short or no pickle.
        """
        for opcode, argument, _ in pickletools.genops(self._file):
            self._budget.spend_steps()
            if opcode.name == "STOP":
                return self._pop()
            if opcode.name in _VALUES:
                self._push_value(argument)
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            else:
                raise pickle.UnpicklingError(f"opcode {opcode.name}, which no file of weights needs")
        raise AssertionError("pickletools ends at STOP or raises")

    # The stack.

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _push_value(self, value: Any) -> None:
        if type(value) is int and value.bit_length() > _MOST_BITS:
            raise pickle.UnpicklingError(f"an integer of {value.bit_length()} bits")
        self._push(value)

    def _pop(self) -> Any:
        self._require_items(1)
        return self._stack.pop()

    def _top(self) -> Any:
        self._require_items(1)
        return self._stack[-1]

    def _require_items(self, count: int) -> None:
        if len(self._stack) - count < (self._marks[-1] if self._marks else 0):
            raise pickle.UnpicklingError("an opcode without its operands")

    def _pop_many(self, count: int) -> list[Any]:
        self._require_items(count)
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise pickle.UnpicklingError("an opcode without its mark")
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _discard(self, _: object) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    # The memo.

    def _remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def _recall(self, index: int) -> None:
        if index not in self._memo:
            raise pickle.UnpicklingError("a reference to something that was never made")
        self._push(self._memo[index])

    # Containers.

    def _extend(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise pickle.UnpicklingError("items for something that is no list")
        target += items

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise pickle.UnpicklingError("elements for something that is no set")
        target.update(map(safe_key, items))

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict:
            raise pickle.UnpicklingError("entries for something that is no dictionary")
        target.update(_pairs(items))

    # Objects.

    def _named(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise pickle.UnpicklingError("a name that is no text")
        self._push(self._names(module, name))

    def _name_from_stack(self, _: object) -> None:
        self._named(*self._pop_many(2))

    def _instance(self, name: str) -> None:
        arguments = self._pop_to_mark()
        self._named(*name.split(" ", 1))
        self._call(self._pop(), tuple(arguments))

    def _object(self, _: object) -> None:
        function, *arguments = self._pop_to_mark() or [None]
        self._call(function, tuple(arguments))

    def _reduce(self, _: object) -> None:
        self._call(*self._pop_many(2))

    def _new_object_with_names(self, _: object) -> None:
        function, arguments, _names = self._pop_many(3)
        self._call(function, arguments)

    def _call(self, function: object, arguments: object) -> None:
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise pickle.UnpicklingError("a call of something that cannot be called")
        self._budget.spend_steps(len(arguments))
        for argument in arguments:
            if isinstance(argument, str | bytes | bytearray):
                self._budget.spend_bytes(len(argument))
            elif isinstance(argument, list | tuple | set | frozenset | dict):
                self._budget.spend_steps(len(argument))
        self._push(function(*arguments))

    def _build(self, _: object) -> None:
        state = self._pop()
        target = self._top()
        if isinstance(target, InertObject):
            target.state = state
        elif type(target) is not dict:  # attributes beside the items of an OrderedDict are not read by anybody
            kind = {Storage: "storage", TensorView: "tensor", Function: "function"}.get(type(target), "value")
            raise pickle.UnpicklingError(f"attempt to change a {kind}")

    def _look_up(self, identity: object) -> None:
        if self._persistent is None:
            raise pickle.UnpicklingError("a persistent id, which this file must not have")
        self._push(self._persistent(identity))

    def _check_protocol(self, version: int) -> None:
        if version > _NEWEST_PROTOCOL:
            raise pickle.UnpicklingError(f"pickle protocol {version}")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise pickle.UnpicklingError("a key without its value")
    return {safe_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


_VALUES = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
})  # fmt: skip
_ACTIONS: dict[str, Callable[[PickleMachine, Any], object]] = {
    "PROTO": PickleMachine._check_protocol,
    "FRAME": lambda machine, size: None,
    "MARK": lambda machine, _: machine._marks.append(len(machine._stack)),
    "POP": PickleMachine._discard,
    "POP_MARK": lambda machine, _: machine._pop_to_mark(),
    "DUP": lambda machine, _: machine._push(machine._top()),
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "EMPTY_SET": lambda machine, _: machine._push(set()),
    "TUPLE1": lambda machine, _: machine._push(tuple(machine._pop_many(1))),
    "TUPLE2": lambda machine, _: machine._push(tuple(machine._pop_many(2))),
    "TUPLE3": lambda machine, _: machine._push(tuple(machine._pop_many(3))),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._pop_to_mark())),
    "LIST": lambda machine, _: machine._push(machine._pop_to_mark()),
    "DICT": lambda machine, _: machine._push(_pairs(machine._pop_to_mark())),
    "FROZENSET": lambda machine, _: machine._push(frozenset(map(safe_key, machine._pop_to_mark()))),
    "APPEND": lambda machine, _: machine._extend(machine._pop_many(1)),
    "APPENDS": lambda machine, _: machine._extend(machine._pop_to_mark()),
    "SETITEM": lambda machine, _: machine._set_items(machine._pop_many(2)),
    "SETITEMS": lambda machine, _: machine._set_items(machine._pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine._add(machine._pop_to_mark()),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), PickleMachine._remember),
    "MEMOIZE": lambda machine, _: machine._remember(len(machine._memo)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), PickleMachine._recall),
    "GLOBAL": lambda machine, name: machine._named(*name.split(" ", 1)),
    "STACK_GLOBAL": PickleMachine._name_from_stack,
    "INST": PickleMachine._instance,
    "OBJ": PickleMachine._object,
    "REDUCE": PickleMachine._reduce,
    "NEWOBJ": PickleMachine._reduce,
    "NEWOBJ_EX": PickleMachine._new_object_with_names,
    "BUILD": PickleMachine._build,
    "PERSID": lambda machine, text: machine._look_up(text),
    "BINPERSID": lambda machine, _: machine._look_up(machine._pop()),
}
"""Opcode -> what it does. Not here: extension codes, and buffers outside of the pickle."""
