"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from defect_synth.errors import OutputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it over `path` when the block ends, remove it when the block fails.

    The suffix is kept, since image writers choose the format by it.

    Raises:
        OutputError: The file cannot be written: disk full, no permission, the folder is a file.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        cause = _system_error(error)
        if cause is not None:
            raise OutputError(_explain(path, cause)) from error
        raise


def _system_error(error: BaseException) -> OSError | None:
    """The OSError that `error` is, or that a native writer put into words ("No space left on device (os error 28)")."""
    if isinstance(error, OSError):
        return error
    if "os error 28" in str(error) or "No space left" in str(error):
        return OSError(errno.ENOSPC, "No space left on device")
    return None


def _explain(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"no space left on the disk of {path}; free some or choose another --output (what was written is intact)"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no permission to write {path}; choose another --output"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"cannot write {path}: a file stands where a folder is needed; choose another --output"
    return f"cannot write {path}: {error.strerror or error}"
