"""The compiled kernels of `kernels.cpp`, built once on each machine with the user's C++ compiler.

Nothing is downloaded, and nothing is compiled before the first convolution needs it. Without a compiler, on processors
other than x86-64 and ARM, and with `DEFECT_SYNTH_NATIVE=0`, every operation takes its PyTorch form, which gives the
same numbers up to rounding. Beside the compiled file is its SHA-256: a file that was cut short would crash the process
that loads it, so one that does not match is compiled again.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import threading
from pathlib import Path

import torch
from torch import Tensor

from defect_synth.atomic import replacing
from defect_synth.errors import OutputError
from defect_synth.files import is_own, own_folders

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
    reason: object = "there is no folder that only you can write"
    try:
        name = f"kernels-{_key(compiler)}.so"
        for folder in filter(is_own, own_folders()):
            try:
                return ctypes.CDLL(str(_built(compiler, folder / name)))
            except (OSError, OutputError) as error:  # the folder is full, or nothing in it may be executed
                reason = error
    except subprocess.CalledProcessError as error:
        reason = f"{compiler} says: {_text(error.stderr or error.stdout or b'nothing')}"
    except (OSError, subprocess.SubprocessError) as error:
        reason = error
    log.warning("convolutions use their slower PyTorch form, since the kernels were not compiled: %s", _line(reason))
    return None


def _text(output: bytes) -> str:
    """What a compiler printed, in whatever encoding."""
    return output.decode(errors="replace")


def _line(reason: object) -> str:
    """The beginning of a text in one line that can be printed anywhere."""
    words = " ".join(str(reason).split())[:300]
    return "".join(letter if letter.isprintable() else "?" for letter in words)


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


def _built(compiler: str, target: Path) -> Path:
    """The kernels, compiled unless `target` holds what an earlier call has compiled.

    Several processes may do so at the same time.

    Raises:
        OutputError: The file cannot be written.
        subprocess.SubprocessError: The compiler fails.
    """
    checksum = target.with_name(f"{target.name}.sha256")
    if target.exists():
        if _is_as_compiled(target, checksum):
            return target
        log.warning("%s is damaged or foreign; it is compiled again", target)
    with replacing(target, "XDG_CACHE_HOME") as temporary:
        subprocess.run([compiler, *_FLAGS, str(_SOURCE), "-o", str(temporary)], capture_output=True, timeout=_TIMEOUT,
                       check=True)  # fmt: skip
        if not temporary.is_file():
            raise subprocess.SubprocessError(f"{compiler} claims success and wrote nothing")
        temporary.chmod(0o700)
        # Before the kernels themselves, so that no other process takes them for damaged meanwhile.
        with replacing(checksum, "XDG_CACHE_HOME") as beside:
            beside.write_text(_sha256(temporary))
    return target


def _is_as_compiled(target: Path, checksum: Path) -> bool:
    try:
        return checksum.read_text() == _sha256(target)
    except (OSError, ValueError):
        return False


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
