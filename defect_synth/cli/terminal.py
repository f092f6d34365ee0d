"""Everything that the command says: lines that a terminal only shows, in any encoding."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import TextIO

from defect_synth.files import reason
from defect_synth.names import printable

BROKEN_PIPE = 141  # what a shell reports for a program that nobody listens to any more: 128 + SIGPIPE
_MOST_CHARACTERS = 2000  # of a line with an error: paths may have 5,000


class PipeClosedError(Exception):
    """`BrokenPipeError` under a name that typer lets pass: it ends the program with code 1."""


def say(*lines: object, error: bool = False) -> None:
    """Print lines; what could steer the terminal is written as an escape.

    Args:
        lines: Each is one line, whatever it holds.
        error: Print to standard error.
    """
    text = "".join(f"{printable(str(line))}\n" for line in lines)
    print(text, end="", file=sys.stderr if error else sys.stdout, flush=error)


def say_error(error: object, before: str = "error") -> None:
    """Print one line about an error to standard error."""
    text = f"{before}: {error}"
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[: _MOST_CHARACTERS // 2]} ... {text[-_MOST_CHARACTERS // 2 :]}"
    say(text, error=True)


def explained(error: OSError) -> str:
    """One line about an error of the file system that no reader or writer has met with a better one."""
    return f"{error.filename}: {reason(error)}" if error.filename else reason(error)


def prepare_streams() -> None:
    """Let both streams take every character: what their encoding lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def finish_streams(code: int) -> int:
    """Write what is still buffered, so that the interpreter does not fail to do so after everything else.

    Args:
        code: Exit code so far.

    Returns:
        The exit code: another one if the text could not be written.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except BrokenPipeError:
            code = code or BROKEN_PIPE
            _silence(stream)
        except OSError as error:
            _silence(stream)
            say_error(f"cannot write the output: {reason(error)}")
            code = code or 2
    return code


def _silence(stream: TextIO) -> None:
    """Send what is left in the buffer to nowhere."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):  # not a real stream
        return


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_terminal(level: int = logging.WARNING) -> None:
    """Show library messages from this level on as plain lines on standard error."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(_OneLine("%(message)s"))
        root.addHandler(handler)
    if any(isinstance(handler.formatter, _OneLine) for handler in root.handlers):  # else the host program decides
        root.setLevel(level)
