"""Write a file or a folder completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from defect_synth.errors import DefectSynthError, OutputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, remove it when the block fails.

    The temporary path has the same suffix, since image writers choose the format by it.

    Raises:
        OutputError: The file cannot be written: disk full, no permission, or the folder is a file.
    """
    unique = uuid.uuid4().hex[:12]  # threads and machines that share the folder may write the same file at once
    temporary = path.with_name(f".{path.stem}.{unique}.part{path.suffix}")
    try:
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`; rename it to `path` when the block ends, remove it when the block fails.

    Errors of the block itself are passed on as they are; wrap what it writes in `replacing` or `output_errors`.

    Raises:
        OutputError: `path` is a file or a folder that is not empty, or cannot be written.
    """
    require_free_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with output_errors(path):
            temporary.mkdir(parents=True)
        yield temporary
        with output_errors(path):
            if path.exists():
                path.rmdir()  # it is empty, and not every system replaces an empty folder
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def require_free_folder(path: Path) -> None:
    """Check that `path` may become a new folder.

    Raises:
        OutputError: It is a file or a folder that is not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} already holds something; choose another --output or remove it")


@contextlib.contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system in this block into an `OutputError` that says what to do about `path`."""
    try:
        yield
    except DefectSynthError:
        raise
    except Exception as error:
        cause = _system_error(error)
        if cause is None:
            raise
        raise OutputError(_explain(path, cause)) from error


def _system_error(error: BaseException) -> OSError | None:
    """`error` if it is an OSError, or the OSError that a native writer reported as text ("... (os error 28)")."""
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
