"""Run something in a child process that has all imports already, within bounds of memory and time.

A command in a new process spends seconds on importing torch. A child that is forked from here starts at once, so that
hundreds of damaged files, or hundreds of kills, take a minute. What the child breaks, it breaks alone.
"""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Its exit code; None if a signal ended it.
        signal: Name of that signal; empty if there was none.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
        seconds: How long it ran.
    """

    code: int | None
    signal: str
    out: str
    err: str
    seconds: float


def import_everything() -> None:
    """Import what commands import, here and not in every child, where it would be the larger part of the time."""
    import torch

    import defect_synth.augment
    import defect_synth.baselines.defect_gan
    import defect_synth.benchmark
    import defect_synth.benchmark.plan
    import defect_synth.benchmark.report.report
    import defect_synth.benchmark.run
    import defect_synth.cli.methods
    import defect_synth.compositor.bank
    import defect_synth.data.check
    import defect_synth.dfmgan.official
    import defect_synth.dfmgan.train
    import defect_synth.export
    import defect_synth.painter.train  # noqa: F401
    from defect_synth.open import open_source

    for name in ("demo", "demo-dfmgan"):  # torch imports much of itself when the first network is built
        source = open_source(name)
        source.sample(source.defects[0], [0])
    assert torch.get_num_threads() == 1  # a pool of threads would not survive a fork


def command(*arguments: str) -> Callable[[], None]:
    """`defect-synth` with these arguments, to be run in a child."""

    def call() -> None:
        from defect_synth.cli import main

        sys.argv = ["defect-synth", *arguments]
        main()

    call.__doc__ = " ".join(arguments)
    return call


class Forked:
    """A child that runs; `wait` says how it ended."""

    def __init__(self, child: int, logs: Path, deadline: float) -> None:
        self._child, self._logs, self._started = child, logs, time.monotonic()
        self._deadline = self._started + deadline

    def wait(self) -> Ended:
        """Wait for the end, and bring it about at the deadline with SIGKILL."""
        ended, status = 0, 0
        while not ended:
            ended, status = os.waitpid(self._child, os.WNOHANG)
            if not ended and time.monotonic() > self._deadline:
                os.kill(self._child, signal.SIGKILL)
                ended, status = os.waitpid(self._child, 0)
            time.sleep(0.002)
        out, err = ((self._logs / name).read_text("utf-8", "backslashreplace") for name in ("out", "err"))
        shutil.rmtree(self._logs)
        killed = os.WIFSIGNALED(status)
        name = signal.Signals(os.WTERMSIG(status)).name if killed else ""
        return Ended(None if killed else os.WEXITSTATUS(status), name, out, err, time.monotonic() - self._started)


def fork(
    call: Callable[[], object],
    folder: Path,
    *,
    memory: int | None = None,
    processor_seconds: int | None = None,
    seconds: float = 240,
    kill_after: float | None = None,
    file_size: int | None = None,
) -> Forked:
    """Call `call` in a child whose working directory is `folder`.

    Args:
        call: What to run; an exception ends the child as it would end a program, with a traceback and exit code 1.
        folder: Working directory.
        memory: Most address space beyond that of this process, in bytes.
        processor_seconds: Most processor time; SIGXCPU ends the child after it.
        seconds: Most time by the clock; SIGALRM, which the child cannot catch, ends it after that.
        kill_after: Send SIGKILL after so many seconds.
        file_size: Most bytes in a file, as a quota would allow: more is refused with EFBIG.
    """
    logs = Path(tempfile.mkdtemp())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks in programs with threads
        child = os.fork()
    if child == 0:
        _become(call, folder, logs, memory, processor_seconds, seconds, file_size)
    return Forked(child, logs, seconds + 5 if kill_after is None else kill_after)


def run_forked(call: Callable[[], object], folder: Path, **limits: Any) -> Ended:
    """`fork(...)`, and how it ended."""
    return fork(call, folder, **limits).wait()


def _become(
    call: Callable[[], object],
    folder: Path,
    logs: Path,
    memory: int | None,
    processor_seconds: int | None,
    seconds: float,
    file_size: int | None,
) -> NoReturn:
    """The life of the child; it never returns into the test that forked it."""
    code = 1
    try:
        _leave_pytest(logs)
        os.chdir(folder)
        os.environ.update(DEFECT_SYNTH_NATIVE="0", XDG_CACHE_HOME=str(folder / "out" / "cache"))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_CPU: processor_seconds, resource.RLIMIT_FSIZE: file_size}
        if memory is not None and sys.platform.startswith("linux"):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory
        for limit, value in limits.items():
            if value is not None:
                resource.setrlimit(limit, (value, resource.getrlimit(limit)[1]))
        call()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _leave_pytest(logs: Path) -> None:
    """Standard streams, signals, warnings and logging as in a program of its own."""
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the child lives
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    for number in (signal.SIGALRM, signal.SIGXCPU, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python does, so that a write beyond the limit is an error
    warnings.resetwarnings()
    warnings.simplefilter("default")
    logging.captureWarnings(False)
    root = logging.getLogger()
    root.handlers.clear()
    root.setLevel(logging.WARNING)
