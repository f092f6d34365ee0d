"""Named tensors from a weights file, read without executing anything in it."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from defect_synth.errors import CheckpointError, DataError
from defect_synth.names import printable
from defect_synth.weights.budget import Budget
from defect_synth.weights.finite import require_finite
from defect_synth.weights.safetensors_file import opened_safetensors
from defect_synth.weights.stand_ins import TENSOR_NAMES, TensorView
from defect_synth.weights.torch_file import opened_weights, read_torch_file

_NESTED = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training programs put the tensors


def read_tensors(path: str | Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth` file that holds a dictionary; other entries are left out.

    A dictionary without tensors may hold one with tensors, as `state_dict` or `model`.

    Args:
        path: The file.
        expected: What the user should give; the end of every error message.

    Raises:
        CheckpointError: The file is missing, unreadable or of another kind, would execute code, holds no dictionary, or
            holds NaN.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no file {path}; {expected}")
    if path.suffix == ".safetensors":
        with opened_safetensors(path, "pt", expected) as opened:
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    else:
        tensors = _read_pth(path, expected)
    require_finite(tensors, path)
    return tensors


def _read_pth(path: Path, expected: str) -> dict[str, Tensor]:
    try:
        with opened_weights(path) as (file, size):
            budget = Budget(size)
            stored = read_torch_file(file, size, budget, _stand_in)
        if isinstance(stored, dict):
            nested = (stored[key] for key in _NESTED if isinstance(stored.get(key), dict))
            stored = stored if any(isinstance(v, TensorView) for v in stored.values()) else next(nested, stored)
        if not isinstance(stored, dict):
            raise pickle.UnpicklingError(f"it holds a {type(stored).__name__}, not named tensors")
        return {str(name): value.read(budget) for name, value in stored.items() if isinstance(value, TensorView)}
    except DataError as error:
        raise CheckpointError(f"{error}; {expected}") from None
    except MemoryError:
        raise
    except Exception as error:  # nothing but the file decides what is done here
        reason = printable(" ".join(str(error).split()))[:160] or type(error).__name__
        raise CheckpointError(f"cannot read {path} ({reason}); {expected}") from error


def _stand_in(module: str, name: str) -> object:
    return TENSOR_NAMES.get((module, name)) or _refuse(module, name)


def _refuse(module: str, name: str) -> NoReturn:
    raise pickle.UnpicklingError(f"it refers to {f'{module}.{name}'[:100]}, which no file of weights needs")


def take_tensor(tensors: Mapping[str, Tensor], name: str, shape: tuple[int, ...], expected: str) -> Tensor:
    """One tensor as contiguous float32 on the CPU.

    Raises:
        CheckpointError: The tensor is missing or has another shape.
    """
    found = tensors.get(name)
    if found is None:
        raise CheckpointError(f"no tensor {name!r}; {expected}")
    if tuple(found.shape) != shape:
        raise CheckpointError(f"{name!r} should be {list(shape)}, got {list(found.shape)}; {expected}")
    return found.detach().float().cpu().contiguous()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
