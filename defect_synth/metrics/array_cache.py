"""Named arrays stored on disk, so that a long evaluation can be continued."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from torch import Tensor

from defect_synth.data.folder_cache import FolderCache

_VERSION = 3  # raise it when the arithmetic behind stored arrays changes, so that older ones are no longer found


class ArrayCache:
    """A folder of safetensors files, see `FolderCache`.

    Args:
        folder: Where the files go. With None nothing is stored.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self._files = None if folder is None else FolderCache(folder, suffix=".safetensors", version=_VERSION)

    def get(self, key: object, names: Collection[str], rows: int | None = None) -> dict[str, Tensor] | None:
        """The arrays stored under a key (a JSON value); None if they are missing, damaged or others than expected.

        Args:
            key: What the arrays were computed from.
            names: Names of the arrays.
            rows: Length of each array; None: any.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        content = None if self._files is None else self._files.get(key)
        if content is None:
            return None
        try:
            found = load(content)
        except SafetensorError:
            return None
        fits = all(rows is None or (array.ndim > 0 and len(array) == rows) for array in found.values())
        return found if fits and found.keys() == set(names) else None

    def put(self, key: object, arrays: Mapping[str, Tensor]) -> None:
        """Store arrays under a key.

        Raises:
            OutputError: The file cannot be written.
        """
        if self._files is None:
            return
        from safetensors.torch import save

        self._files.put(key, save({name: tensor.detach().cpu().contiguous() for name, tensor in arrays.items()}))

    def get_or_compute(
        self, key: object, names: Collection[str], rows: int | None, compute: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """The arrays stored under a key, see `get`, which are computed and stored first if they are missing."""
        found = self.get(key, names, rows)
        if found is None:
            found = dict(compute())
            self.put(key, found)
        return found
