"""Write a file or a folder completely or not at all, and by one process at a time.

Temporary files and folders are called `.<name>.<12 random hexadecimal digits>.part<suffix>`. A process that was killed
leaves them behind; whoever next takes the lock of the place removes them, since nobody else can be using them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from defect_synth.errors import DefectSynthError, OutputError
from defect_synth.files import reason

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the lock file in a folder that is being written. It is removed at the end; one that nobody holds is void."""

_PATIENCE = 5.0  # seconds to wait for another process that prepares a folder which both will share
_LEFT_BEHIND = re.compile(r"\..+\.[0-9a-f]{12}\.part(\.[^.]*)?")


@contextlib.contextmanager
def replacing(path: Path, argument: str = "--output") -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends, remove it when the block fails.

    The temporary path has the same suffix, since image writers choose the format by it.

    Args:
        path: The file.
        argument: What the user gave the path with, for messages.

    Raises:
        OutputError: The file cannot be written: disk full, no permission, or the folder is a file.
    """
    temporary = path.with_name(f".{path.stem}.{_unique()}.part{path.suffix}")
    try:
        with output_errors(path, argument):
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
        OutputError: `path` is a file or a folder that is not empty, cannot be written, or another process is writing
            it.
    """
    require_free_folder(path)
    path = Path(os.path.abspath(path))  # "." has no name
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _Lock(path.with_name(f".{path.name}{LOCK}")) as lock:
        lock.require(path)
        require_free_folder(path)  # another process may have finished it since
        if lock.is_real:
            stale = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]+\.part")
            for entry in list(path.parent.iterdir()):
                if stale.fullmatch(entry.name):
                    shutil.rmtree(entry, ignore_errors=True)
        temporary = path.with_name(f".{path.name}.{_unique()}.part")
        try:
            with output_errors(path):
                temporary.mkdir()
            yield temporary
            with output_errors(path):
                if path.exists():
                    path.rmdir()  # it is empty, and not every system replaces an empty folder
                os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Make `folder` if needed and keep other processes from writing it until the block ends.

    What killed processes left unfinished in the folder is removed first. The lock is the operating system's, so that
    it ends with the process, however that ends. File systems and systems without such locks get none.

    Raises:
        OutputError: Another process is writing the folder, or it cannot be written.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _Lock(folder / LOCK) as lock:
        lock.require(folder)
        lock.remove_left_behind()
        yield


@contextlib.contextmanager
def writing_together(folder: Path, prepare: Callable[[bool], None]) -> Iterator[None]:
    """As `writing_alone`, but several processes may be in such blocks at once, each of which writes other files.

    Args:
        folder: The folder.
        prepare: Called first, with whether this process is the only one; no other one enters meanwhile if it is. It
            marks the folder as belonging to one purpose, or raises an error if it belongs to another one.

    Raises:
        OutputError: Another process is writing the folder alone, or it cannot be written.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _Lock(folder / LOCK) as lock:
        if lock.take(shared=False):
            lock.remove_left_behind()
            prepare(True)
        give_up = time.monotonic() + _PATIENCE
        while not lock.take(shared=True):
            if time.monotonic() > give_up:
                raise _taken(folder)
            time.sleep(0.05)
        prepare(False)
        yield


class _Lock:
    """A lock of the operating system on a file, which is removed by whoever uses it last.

    Args:
        path: The file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self.is_real = os.name == "posix"

    def __enter__(self) -> _Lock:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            if self._file is not None and self.is_real and self._holds(shared=False) and self._is_current():
                self._path.unlink()  # nobody else has it, and whoever opened it meanwhile notices that it is gone
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def take(self, *, shared: bool) -> bool:
        """Take the lock, or change how it is held; whether that was possible at once.

        Raises:
            OutputError: The file cannot be written.
        """
        while self.is_real:
            if self._file is None:
                with output_errors(self._path.parent):
                    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            try:
                if not self._holds(shared):
                    return False
            except OSError:
                log.warning("%s: no locks on this file system; make sure that one process writes it", self._path.parent)
                self.is_real = False
                break
            if self._is_current():
                return True
            os.close(self._file)  # its last user has removed it between our opening and locking it
            self._file = None
        return True

    def require(self, place: Path) -> None:
        """Take the lock for this process alone.

        Raises:
            OutputError: Another process has it.
        """
        if not self.take(shared=False):
            raise _taken(place)

    def remove_left_behind(self) -> None:
        """Remove unfinished files and folders below the folder of the lock, which must be held alone."""
        if self.is_real:
            for parent, folders, files in os.walk(self._path.parent):
                for name in files:
                    if _LEFT_BEHIND.fullmatch(name):
                        with contextlib.suppress(OSError):
                            os.unlink(os.path.join(parent, name))
                for name in [name for name in folders if _LEFT_BEHIND.fullmatch(name)]:
                    shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
                    folders.remove(name)

    def _is_current(self) -> bool:
        """Whether the open file is still the one of that name."""
        assert self._file is not None
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._file), os.lstat(self._path))
        return False

    def _holds(self, shared: bool) -> bool:
        import fcntl  # does not exist on Windows

        assert self._file is not None
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _taken(place: Path) -> OutputError:
    return OutputError(f"another process is writing {place}; wait until it ends, or choose another --output")


def _unique() -> str:
    """Part of a temporary name; a process number would not do, since every container starts counting at 1."""
    return uuid.uuid4().hex[:12]


def require_free_folder(path: Path) -> None:
    """Check that `path` may become a new folder.

    Raises:
        OutputError: It is a file or a folder that is not empty.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(f"{path} already holds something; choose another --output or remove it")


@contextlib.contextmanager
def output_errors(path: Path, argument: str = "--output") -> Iterator[None]:
    """Turn an error of the file system in this block into an `OutputError` that says what to do about `path`.

    Args:
        path: What is written.
        argument: What the user gave the path with, for messages.
    """
    try:
        yield
    except (DefectSynthError, BrokenPipeError):  # whoever reads the output of the command has gone
        raise
    except Exception as error:
        cause = _system_error(error)
        if cause is None:
            raise
        raise OutputError(_explain(path, cause, argument)) from error


def _system_error(error: BaseException) -> OSError | None:
    """`error` if it is an OSError, or the OSError that a native writer reported as text ("... (os error 28)")."""
    if isinstance(error, OSError):
        return error
    if told := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(told[1]), os.strerror(int(told[1])))
    if "No space left" in str(error):
        return OSError(errno.ENOSPC, "No space left on device")
    return None


def _explain(path: Path, error: OSError, argument: str) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"no space left on the disk of {path}; free some or choose another {argument} (what was written is intact)"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission to write {path}; choose another {argument}"
    what = str(error.strerror) if error.errno == errno.ENOENT else reason(error).partition(";")[0]
    return f"cannot write {path}: {what}; choose another {argument} (what was written is intact)"
