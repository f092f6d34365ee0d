"""Read files and folders that others wrote: regular files of a bounded size, and one line for whatever goes wrong.

A FIFO would be waited for for ever, a device has no end, and a text of a few gigabytes would fill the memory.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from defect_synth.errors import DataError

MIB = 1 << 20
MOST_JSON = 24 * MIB
"""Bytes of a JSON file; parsed, it can take thirty times as much memory."""

_KINDS = (
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "FIFO"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)
_REASONS = {
    errno.ENOENT: "does not exist; correct the path",
    errno.EACCES: "no permission; change it or give another path",
    errno.EPERM: "no permission; change it or give another path",
    errno.EROFS: "the disk is read-only; give another path",
    errno.ENOTDIR: "a file stands where a folder is needed; correct the path",
    errno.EEXIST: "a file stands where a folder is needed; correct the path",
    errno.EISDIR: "is a folder, expected a file; correct the path",
    errno.ENAMETOOLONG: "the path is too long; give a shorter one",
    errno.ELOOP: "its links lead in a circle; correct them",
    errno.ENOSPC: "no space left on the disk; free some",
    errno.EIO: "Input/output error; check the disk, or copy the data to another one",
}
if hasattr(errno, "EDQUOT"):  # not on Windows
    _REASONS[errno.EDQUOT] = "the disk quota is used up; free some space"


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading; nothing else is waited for.

    Raises:
        DataError: The file is missing, no regular file, or may not be read.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO waits for its other end. It has no effect on regular files.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        kind = _kind(path)
        raise DataError(
            f"{path}: {f'is a {kind}, expected a file; correct the path' if kind else reason(error)}"
        ) from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise DataError(f"{path}: is a {_kind_of(mode)}, expected a file; correct the path")
    return os.fdopen(descriptor, "rb")


def require_file(path: Path) -> None:
    """Check that `path` is a regular file that may be read, for libraries that open it by its path.

    Raises:
        DataError: As `open_file`.
    """
    open_file(path).close()


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file.

    Args:
        path: The file.
        most: Bytes that are accepted.

    Raises:
        DataError: As `open_file`, or there are more bytes.
    """
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise DataError(f"{path}: larger than {most / MIB:g} MiB, the most that is read; give the right file")
        try:
            return file.read()
        except OSError as error:
            raise DataError(f"{path}: {reason(error)}") from None


def read_text(path: Path, most: int) -> str:
    """The content of a text file in UTF-8, without a byte-order mark.

    Raises:
        DataError: As `read_bytes`, or it is no UTF-8.
    """
    try:
        return read_bytes(path, most).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not UTF-8 text; save it as UTF-8") from None


def read_json(path: Path, most: int = MOST_JSON) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: As `read_text`, or it is not JSON; the message has the line.
    """
    return parse_json(read_text(path, most), path)


def parse_json(text: str, where: object) -> Any:
    """JSON as Python values.

    Args:
        text: The JSON.
        where: The file that holds it, for the message.

    Raises:
        DataError: It is not JSON, nested too deeply, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise DataError(f"{where}: not usable JSON: nested too deeply") from None
    except ValueError:
        raise DataError(f"{where}: not usable JSON: a number has thousands of digits") from None


def listed(folder: Path) -> list[Path]:
    """The entries of a folder, sorted.

    Raises:
        DataError: It cannot be listed.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: {reason(error)}") from None


def own_folders() -> list[Path]:
    """Folders of this user alone for files that can be made again: in the user's caches, then a temporary one.

    Use those for which `is_own` holds; others may be waiting with a file of that name in a folder that all may write.
    """
    found = []
    if cache := os.environ.get("XDG_CACHE_HOME"):
        found.append(Path(cache))
    with suppress(RuntimeError):  # no home
        found.append(Path.home() / ".cache")
    found = [folder / "defect-synth" for folder in found]
    user = os.getuid() if hasattr(os, "getuid") else "cache"  # the temporary folder of Windows is the user's own
    return [*found, Path(tempfile.gettempdir()) / f"defect-synth-{user}"]


def is_own(folder: Path) -> bool:
    """Whether `folder` exists or can be created, belongs to this user, and cannot be written by anybody else."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    ours = not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return ours and not folder.is_symlink() and os.access(folder, os.W_OK | os.X_OK)


def reason(error: Exception) -> str:
    """What the operating system says, and what to do about it."""
    if not isinstance(error, OSError):
        return f"cannot be opened ({error})"
    return _REASONS.get(error.errno or 0) or str(error.strerror or error)


def _kind(path: Path) -> str | None:
    """What `path` is, if it is there and no regular file: sockets, for instance, cannot be opened at all."""
    with suppress(OSError, ValueError):
        mode = path.stat().st_mode
        return None if stat.S_ISREG(mode) else _kind_of(mode)
    return None


def _kind_of(mode: int) -> str:
    return next((name for test, name in _KINDS if test(mode)), "special file")
