"""Named tensors from a weights file, read without executing anything in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defect_synth.errors import CheckpointError


def read_tensors(path: str | Path, expected: str) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth` file that holds a dictionary; other entries are left out.

    Args:
        path: The file.
        expected: What the user should give; the end of every error message.

    Raises:
        CheckpointError: The file is missing or unreadable, would execute code, or holds no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no file {path}; {expected}")
    stored: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            stored = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch and safetensors raise a dozen types for damaged or foreign files
        raise CheckpointError(f"cannot read {path} ({type(error).__name__}); {expected}") from error
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"{path} holds a {type(stored).__name__}, not named tensors; {expected}")
    return {str(name): tensor for name, tensor in stored.items() if isinstance(tensor, Tensor)}


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
