"""Write a bank sample by sample, in constant memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from defect_synth.compositor.bank.reading import FORMAT, INDEX, PROVENANCE
from defect_synth.compositor.bank.row import digest_start, digested, provenance_line, row
from defect_synth.samples import DefectSample

_BLOCK = 1 << 20  # bytes read or written at a time


class BankWriter:
    """Appends samples to the arrays of a bank. The folder can be opened as a bank only after `finish`.

    Args:
        folder: An empty folder.
        category: Object category.
    """

    def __init__(self, folder: Path, category: str) -> None:
        self._folder, self._category = folder, category
        self._names: list[str] = []
        self._arrays: dict[str, _ArrayFile] = {}
        self._provenance: TextIO | None = None
        self._sizes: set[tuple[int, ...]] = set()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, sample: DefectSample) -> None:
        """Append one sample, of any size.

        Raises:
            OSError: The files cannot be written.
        """
        self._sizes.add(sample.mask.shape)
        if self._provenance is None:
            self._provenance = (self._folder / PROVENANCE).open("w", encoding="utf-8", newline="\n")
        values = row(sample, self._names)
        before = self._arrays["images"].rows if self._arrays else 0
        for name, value in values.items():
            if name not in self._arrays:
                self._arrays[name] = _ArrayFile(self._folder / f"{name}.npy", value.dtype, value.shape[1:])
                if name == "cleans":  # the first sample with a clean image may come late
                    self._arrays[name].append_zeros(before)
            self._arrays[name].append(value)
        if "cleans" in self._arrays and "cleans" not in values:
            self._arrays["cleans"].append_zeros(len(values["images"]))
        self._provenance.write(provenance_line(sample))
        self._count += 1

    def finish(self) -> None:
        """Complete the arrays and write the index.

        Raises:
            OSError: The files cannot be written.
        """
        for array in self._arrays.values():
            array.finish()
        assert self._provenance is not None, "nothing was added"
        self._provenance.close()
        digest = digest_start(self._names)
        _hash_into(digest, self._folder / PROVENANCE)
        for name in digested(self._arrays, len(self._sizes)):
            self._arrays[name].hash_into(digest)
        index = {
            "format": FORMAT, "category": self._category, "digest": digest.hexdigest()[:16], "count": self._count,
            "defects": self._names,
        }  # fmt: skip
        (self._folder / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close all files without completing them, so that the folder can be removed; does nothing after `finish`."""
        for array in self._arrays.values():
            array.close()
        if self._provenance is not None:
            with contextlib.suppress(OSError):
                self._provenance.close()


def _hash_into(digest: hashlib._Hash, path: Path, start: int = 0) -> None:
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_BLOCK):
            digest.update(block)


class _ArrayFile:
    """A growing `.npy` file. NumPy pads the header, so that the number of rows can be written at the end.

    Args:
        path: The file.
        dtype: Type of its values.
        shape: Shape of one row.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self._path, self._dtype, self._shape, self.rows = path, dtype, shape, 0
        self._file = path.open("wb")
        self._write_header()
        self._start = self._file.tell()

    def append(self, values: NDArray[Any]) -> None:
        self._file.write(np.ascontiguousarray(values, self._dtype).data)
        self.rows += len(values)

    def append_zeros(self, rows: int) -> None:
        for start in range(0, rows, _BLOCK):
            self.append(np.zeros((min(_BLOCK, rows - start), *self._shape), self._dtype))

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()
        assert self._file.tell() == self._start, "the header of the .npy file has grown"
        self._file.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # buffered data cannot be written either, and the folder is removed anyway
            self._file.close()

    def hash_into(self, digest: hashlib._Hash) -> None:
        _hash_into(digest, self._path, self._start)

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False,
            "shape": (self.rows, *self._shape),
        }  # fmt: skip
        np.lib.format.write_array_header_1_0(self._file, header)
