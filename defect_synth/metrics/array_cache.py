"""Named arrays kept on disk under what they were computed from, so that a long evaluation can be continued."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from defect_synth.atomic import replacing

_FORMAT = 1  # raise it when the arithmetic behind stored arrays changes, so that older ones are no longer found


class ArrayCache:
    """A folder of safetensors files named by a hash of their key.

    Files are written whole or not at all. One that is damaged all the same is computed again.

    Args:
        folder: Where the files go, made if needed; None: nothing is kept.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._folder = None if folder is None else Path(folder)

    @property
    def keeps(self) -> bool:
        """Whether anything is stored at all."""
        return self._folder is not None

    def get(self, key: object) -> dict[str, Tensor] | None:
        """What is stored under a key (JSON values), None where there is nothing."""
        if self._folder is None:
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            found: dict[str, Tensor] = load(self._path(key).read_bytes())
        except (OSError, SafetensorError, ValueError):
            return None
        return found

    def put(self, key: object, arrays: Mapping[str, Tensor]) -> None:
        """Store arrays under a key.

        Raises:
            OutputError: The file cannot be written.
        """
        if self._folder is None:
            return
        from safetensors.torch import save_file

        with replacing(self._path(key)) as temporary:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in arrays.items()}, temporary)

    def of(self, key: object, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What is stored under a key; computed and stored where there is nothing."""
        found = self.get(key)
        if found is None:
            found = dict(compute())
            self.put(key, found)
        return found

    def _path(self, key: object) -> Path:
        assert self._folder is not None
        name = hashlib.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.safetensors"


def content_digest(*arrays: Tensor) -> str:
    """SHA-256 of shapes, types and values, in hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        array = array.detach().cpu().contiguous()
        digest.update(f"{array.dtype} {list(array.shape)}\n".encode())
        digest.update(array.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
