"""Stand-ins for everything that a StyleGAN2-ADA or DFMGAN snapshot may name, besides what every file of weights names.

Each is a `Function` or a text, see `weights/stand_ins.py`: nothing has an effect, and nothing can be changed.
"""

from __future__ import annotations

import pickle
import re

import numpy as np

from defect_synth.weights.stand_ins import OPTIONS, TENSOR_NAMES, Function, InertObject


class _Dtype(InertObject):
    """Stands for `numpy.dtype`: a code such as `f8`, and a state with a byte order."""

    __slots__ = ("code",)

    def __init__(self, code: object = "", *_: object) -> None:
        super().__init__()
        self.code = code if isinstance(code, str) else ""

    @property
    def order(self) -> str:
        return self.state[1] if isinstance(self.state, tuple) and self.state[1:2] in ((o,) for o in "<>=|") else "="


def _persistent_object(meta: object = None, *_: object) -> InertObject:
    """The attributes of a persistent object; its source text (`module_src`) is not read."""
    found = InertObject()
    if not isinstance(meta, dict) or "state" not in meta:
        raise pickle.UnpicklingError("a network without its state")
    found.state = meta["state"]
    return found


def _reconstruct(kind: object, _base: object = None, state: object = None) -> object:
    """Make an object as pickle protocols 0 and 1 do, of our stand-ins only."""
    if kind is OPTIONS:
        return dict(state) if isinstance(state, dict) else {}
    if kind is _ANY_OBJECT:
        return InertObject()
    raise pickle.UnpicklingError("an object of an unexpected class")


def _new_object(kind: object, *_: object) -> object:
    return _reconstruct(kind)


def _numpy_scalar(dtype: object = None, data: object = None) -> float | int | bool:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("a damaged NumPy scalar")
    code = dtype.order + dtype.code
    if not re.fullmatch("[<>=|](b1|[fiu][1248])", code):
        raise pickle.UnpicklingError("a NumPy scalar that is not a number")
    value: float | int | bool = np.frombuffer(data, code, count=1)[0].item()
    return value


def _encode(text: object = None, encoding: object = None) -> bytes:
    """Bytes as protocols 0 to 2 write them; other codecs are refused, as some of them decompress."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in encoding {encoding[:20] if isinstance(encoding, str) else 'unknown'}")
    return text.encode("latin1")


_ANY_OBJECT = Function(InertObject)
GLOBALS: dict[tuple[str, str], object] = TENSOR_NAMES | {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): Function(_persistent_object),
    ("torch.nn.modules.padding", "ReplicationPad2d"): _ANY_OBJECT,
    ("dnnlib.util", "EasyDict"): OPTIONS,
    ("numpy.core.multiarray", "scalar"): Function(_numpy_scalar),
    ("numpy.core.multiarray", "_reconstruct"): _ANY_OBJECT,
    ("numpy.core.numeric", "_frombuffer"): _ANY_OBJECT,
    ("numpy", "dtype"): Function(_Dtype),
    ("numpy", "ndarray"): "ndarray",
    ("_codecs", "encode"): Function(_encode),
    ("copyreg", "_reconstructor"): Function(_reconstruct),
    ("copyreg", "__newobj__"): Function(_new_object),
    **{("builtins", name): name for name in ("object", "dict", "list")},  # base classes in protocols 0 and 1
}
