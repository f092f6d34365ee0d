"""A folder of computed results, each stored whole under a hash of what it was computed from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from defect_synth.atomic import replacing
from defect_synth.errors import DataError
from defect_synth.files import MIB, read_bytes

_MOST_BYTES = 1024 * MIB
_CHECKSUM_LENGTH = 65  # 64 hexadecimal digits and a line break


class FolderCache:
    """Bytes on disk, found again by their key; several processes may share a folder.

    A key is any JSON value. It must contain everything that the result depends on, such as the digest of a source, the
    settings and the seeds. A file holds the content followed by one line with the SHA-256 of key and content: PNG, JSON
    Lines and text files remain readable to other programs, and a file that was cut short, changed or renamed counts as
    missing, so that the caller computes the result again.

    Args:
        folder: Where the files go. It is created when the first file is written.
        suffix: Suffix of the files, such as `.json`.
        version: Part of every key. Raise it when the content of the files changes its meaning or its format.
    """

    def __init__(self, folder: str | Path, *, suffix: str, version: int = 1) -> None:
        self.folder = Path(folder)
        self._suffix = suffix
        self._version = version

    def get(self, key: object) -> bytes | None:
        """The content stored under a key; None if it is missing or damaged."""
        path = self.path(key)
        try:
            stored = read_bytes(path, _MOST_BYTES)
        except DataError:
            return None
        content, checksum = stored[:-_CHECKSUM_LENGTH], stored[-_CHECKSUM_LENGTH:]
        return content if checksum == _checksum(path, content) else None

    def put(self, key: object, content: bytes) -> None:
        """Store the content under a key, replacing what was there.

        Raises:
            OutputError: The file cannot be written.
        """
        path = self.path(key)
        with replacing(path, "cache") as temporary:
            temporary.write_bytes(content + _checksum(path, content))

    def path(self, key: object) -> Path:
        """The file of a key, whether it exists or not."""
        name = hashlib.sha256(json.dumps([self._version, key], sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}{self._suffix}"


def _checksum(path: Path, content: bytes) -> bytes:
    """The last line of a file, which depends on its name, too: a file under another key's name is not believed."""
    return hashlib.sha256(path.name.encode() + content).hexdigest().encode() + b"\n"
