"""Read what `torch.save` wrote, in the format of zip archives or the one before, without torch's own reader.

`torch.load(weights_only=True)` executes nothing either, but allocates whatever the file asks for, and its compiled
parts cannot be stopped. Covered: tensors and parameters in dictionaries and lists, on any device. Not covered: sparse
and quantised tensors, storages that are views of others, compressed archives.
"""

from __future__ import annotations

import io
import mmap
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from defect_synth.files import open_file
from defect_synth.weights.budget import Budget
from defect_synth.weights.pickle_machine import NameLookup, PickleMachine
from defect_synth.weights.stand_ins import Storage

_ARCHIVE = b"PK\x03\x04"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MOST_DIRECTORY = 4 << 20  # bytes of the directory of an archive; an entry needs about 100
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


_TYPES: dict[tuple[str, str], object] = {("torch", name): _StorageType(dtype) for name, dtype in _STORAGES.items()}


@contextmanager
def opened_weights(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A regular file for `read_torch_file` or `PickleMachine`, and its length in bytes.

    Raises:
        DataError: It cannot be opened.
        pickle.UnpicklingError: It is empty.
    """
    with open_file(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        if not size:
            raise pickle.UnpicklingError("it is empty")
        if file.read(4) == _ARCHIVE:
            file.seek(0)
            yield file, size
            return
        # A file would prepare memory for as many bytes as a pickle asks for; a map gives those that are there.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield cast(BinaryIO, mapped), size


def read_torch_file(file: BinaryIO, size: int, budget: Budget, names: NameLookup) -> object:
    """The object that was saved, with stand-ins for everything that is no plain value.

    Args:
        file: What `opened_weights` gives, or bytes in memory, at its start.
        size: Its length in bytes.
        budget: What it may make of them.
        names: Stand-ins for names besides those of storages.

    Raises:
        pickle.UnpicklingError: It is another file, is damaged, or holds what is not covered or not allowed.
        ValueError: A pickle in it is cut short.
        zipfile.BadZipFile: The archive is damaged.
    """
    if file.read(4) == _ARCHIVE:
        return _read_archive(file, size, budget, names)
    file.seek(0)
    return _read_old(file, size, budget, names)


@dataclass
class _Storages:
    """The storages that the pickle of a file refers to, by their keys."""

    found: dict[str, Storage] = field(default_factory=dict)

    def look_up(self, identity: object) -> Storage:
        """A persistent id: ("storage", type, key, device, number of elements), in the old format with what it views."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            raise pickle.UnpicklingError("a reference to something that is no storage")
        _, kind, key, _, numel, *viewed = identity
        if not isinstance(kind, _StorageType) or type(key) is not str or type(numel) is not int or numel < 0:
            raise pickle.UnpicklingError("a reference to a damaged storage")
        if viewed not in ([], [None]):
            raise pickle.UnpicklingError("a storage that is a view of another one")
        storage = self.found.setdefault(key, Storage(kind.dtype, numel))
        if (storage.dtype, storage.numel) != (kind.dtype, numel):
            raise pickle.UnpicklingError("a storage of two types or sizes")
        return storage


def _with_storage_types(names: NameLookup) -> NameLookup:
    return lambda module, name: _TYPES.get((module, name)) or names(module, name)


# The format before torch 1.6: five pickles, then the bytes of the storages.


def _read_old(file: BinaryIO, size: int, budget: Budget, names: NameLookup) -> object:
    def load(names: NameLookup, storages: _Storages | None = None) -> object:
        return PickleMachine(file, budget, names, None if storages is None else storages.look_up).load()

    if load(_no_names) != _MAGIC or load(_no_names) != _PROTOCOL:
        raise pickle.UnpicklingError("it is no file that torch.save wrote")
    system = load(_no_names)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise pickle.UnpicklingError("it was written on a machine of another byte order")
    storages = _Storages()
    content = load(_with_storage_types(names), storages)
    keys = load(_no_names)
    if not isinstance(keys, list):
        raise pickle.UnpicklingError("it lists no storages")
    for key in keys:
        storage = storages.found.get(key) if isinstance(key, str) else None
        if storage is None or storage.flat is not None:
            raise pickle.UnpicklingError("it has a storage that is not named, or twice")
        if int.from_bytes(file.read(8), "little") != storage.numel:
            raise pickle.UnpicklingError("a storage of another size than its name says")
        storage.flat = _elements(file, storage, size, budget)
    return content


def _elements(file: BinaryIO, storage: Storage, size: int, budget: Budget) -> Tensor:
    count = storage.numel * storage.dtype.itemsize
    if count > size - file.tell():
        raise pickle.UnpicklingError("it is cut short")
    budget.spend_bytes(count)
    return _flat(file.read(count), storage)


def _flat(data: bytes, storage: Storage) -> Tensor:
    if len(data) != storage.numel * storage.dtype.itemsize:
        raise pickle.UnpicklingError("a storage of another size than its name says")
    if storage.dtype == torch.bool and data.translate(None, b"\0\1"):
        raise pickle.UnpicklingError("truth values that are neither 0 nor 1")
    # torch wants memory that may be written to, and refuses none at all.
    return torch.frombuffer(bytearray(data), dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)


def _no_names(module: str, name: str) -> object:
    raise pickle.UnpicklingError("a name where a file of torch.save has none")


# Archives, since torch 1.6: a pickle, and a file for each storage.


def _read_archive(file: BinaryIO, size: int, budget: Budget, names: NameLookup) -> object:
    with opened_archive(file, size) as archive:
        found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1:
            raise pickle.UnpicklingError("it is no archive that torch.save wrote")
        folder = found[0].removesuffix("data.pkl")
        order = f"{folder}byteorder"
        if order in archive.namelist() and _entry(archive, order, budget) != b"little":
            raise pickle.UnpicklingError("it was written on a machine of another byte order")
        storages = _Storages()
        pickled = io.BytesIO(_entry(archive, found[0], budget))
        content = PickleMachine(pickled, budget, _with_storage_types(names), storages.look_up).load()
        for key, storage in storages.found.items():
            storage.flat = _flat(_entry(archive, f"{folder}data/{key}", budget), storage)
        return content


@contextmanager
def opened_archive(file: BinaryIO, size: int) -> Iterator[zipfile.ZipFile]:
    """A zip archive whose directory is of a bounded size.

    Raises:
        zipfile.BadZipFile: It is damaged, or has a comment or hundreds of thousands of entries.
    """
    file.seek(max(0, size - 98))
    end = file.read(98)
    if end[-22:-18] != b"PK\x05\x06":
        raise zipfile.BadZipFile("the archive is cut short")
    directory = int.from_bytes(end[-10:-6], "little")
    if end[-42:-38] == b"PK\x06\x07":  # an end record with 64 bits comes before the one with 32
        directory = int.from_bytes(end[-58:-50], "little")
    if directory > _MOST_DIRECTORY:
        raise zipfile.BadZipFile("the archive has too many entries")
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        yield archive


def _entry(archive: zipfile.ZipFile, name: str, budget: Budget) -> bytes:
    try:
        entry = archive.getinfo(name)
    except KeyError:
        raise pickle.UnpicklingError("a storage that is not in the archive") from None
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise pickle.UnpicklingError("it is compressed, which torch.save does not do")
    budget.spend_bytes(entry.file_size)
    return archive.read(entry)
