"""The compiled kernels of `kernels.cpp`, built once on each machine with the user's C++ compiler.

Nothing is downloaded, and nothing is compiled before the first convolution needs it. Without a compiler, on processors
other than x86-64 and ARM, and with `DEFECT_SYNTH_NATIVE=0`, every operation takes its PyTorch form, which gives the
same numbers up to rounding.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import torch
from torch import Tensor

log = logging.getLogger(__name__)

SWITCH = "DEFECT_SYNTH_NATIVE"
_SOURCE = Path(__file__).with_name("kernels.cpp")
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-std=c++17", "-fPIC", "-shared",
          "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros")  # fmt: skip
_TIMEOUT = 300  # seconds, enough for a compiler on a busy machine
_lock = threading.Lock()
_state: list[ctypes.CDLL | None] = []  # empty until the first use


def compiled() -> ctypes.CDLL | None:
    """The kernels, compiled on the first call; None if they cannot be compiled or are switched off."""
    if not _state:
        with _lock:
            if not _state:
                _state.append(_load())
    return _state[0]


def describe() -> str:
    """`native` or `torch`, depending on which form of the operations this process uses on a CPU."""
    return "torch" if compiled() is None else "native"


def supports(*tensors: Tensor) -> bool:
    """Whether the kernels can process these tensors: all float32 or all float64, on a CPU, and kernels available."""
    first = tensors[0]
    if first.device.type != "cpu" or first.dtype not in _PREFIX or any(t.dtype != first.dtype for t in tensors):
        return False
    return compiled() is not None


def call(name: str, like: Tensor, *arguments: object) -> None:
    """Run the kernel `<dtype of like>_<name>`.

    Tensors become pointers, None becomes a null pointer, and the number of threads is added as the last argument.

    Raises:
        MemoryError: The kernel could not allocate its working memory.
    """
    kernels = compiled()
    assert kernels is not None
    function = getattr(kernels, f"{_PREFIX[like.dtype]}_{name}")
    converted: list[object] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted.append(ctypes.c_void_p(argument.data_ptr()))
        elif argument is None:
            converted.append(ctypes.c_void_p(None))
        elif isinstance(argument, float):
            converted.append(ctypes.c_double(argument))
        elif isinstance(argument, bool):
            converted.append(ctypes.c_int(argument))
        elif isinstance(argument, ctypes.c_int):
            converted.append(argument)
        else:
            converted.append(ctypes.c_int64(argument))  # type: ignore[arg-type]
    if function(*converted, ctypes.c_int(torch.get_num_threads())):
        raise MemoryError(f"{name}: not enough memory")


_PREFIX = {torch.float32: "float32", torch.float64: "float64"}


def _load() -> ctypes.CDLL | None:
    if os.environ.get(SWITCH, "1") == "0":
        return None
    compiler = _compiler()
    if compiler is None:
        log.info("no C++ compiler found: convolutions use their slower PyTorch form; install g++ to change that")
        return None
    try:
        name = f"kernels-{_key(compiler)}.so"
        for folder in _folders():
            if _private(folder):
                return ctypes.CDLL(str(_built(compiler, folder / name)))
        log.warning("no private folder for compiled kernels: convolutions use their slower PyTorch form")
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        log.info("the kernels could not be compiled, so convolutions use their slower PyTorch form: %s", detail[-500:])
    return None


def _compiler() -> str | None:
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64") or os.name != "posix":
        return None
    return next(filter(None, map(shutil.which, ("g++", "c++"))), None)


def _key(compiler: str) -> str:
    """Hash of source, flags, compiler and processor, since different machines may share a home folder."""
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=60, check=True).stdout
    digest = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_FLAGS).encode() + version)
    digest.update(platform.machine().encode())
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        digest.update(next((line for line in lines if line.startswith(("flags", "Features"))), "").encode())
    except OSError:
        digest.update(platform.processor().encode())
    return digest.hexdigest()[:20]


def _folders() -> list[Path]:
    """Folders for compiled kernels, the best one first."""
    found = []
    if cache := os.environ.get("XDG_CACHE_HOME"):
        found.append(Path(cache))
    with contextlib.suppress(RuntimeError):  # no home
        found.append(Path.home() / ".cache")
    found = [folder / "defect-synth" for folder in found]
    return [*found, Path(tempfile.gettempdir()) / f"defect-synth-{os.getuid()}"]


def _private(folder: Path) -> bool:
    """Whether `folder` exists or can be created, belongs to this user, and cannot be written by anybody else."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    ours = status.st_uid == os.getuid() and not status.st_mode & 0o022
    return ours and not folder.is_symlink() and os.access(folder, os.W_OK | os.X_OK)


def _built(compiler: str, target: Path) -> Path:
    """Compile to a temporary name and rename, since several processes may do so at the same time."""
    if target.exists():
        return target
    handle, name = tempfile.mkstemp(suffix=".so", prefix=target.stem, dir=target.parent)
    os.close(handle)
    try:
        subprocess.run([compiler, *_FLAGS, str(_SOURCE), "-o", name], capture_output=True, text=True,
                       timeout=_TIMEOUT, check=True)  # fmt: skip
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target
