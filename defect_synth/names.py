"""Names and text from strangers: what may name a category or a defect, which paths may be followed, what may be shown.

Categories and defects become folders and files wherever samples are written. A checkpoint, a bank or a table of
another person may call them anything, so every such name passes `require_name` where it enters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from defect_synth.errors import InvalidNameError

_MOST_BYTES = 150  # file systems take 255; numbers, suffixes and temporary names are added
_MOST_PATH_BYTES = 1000
_MOST_SHOWN = 60  # characters of a bad name in a message
_FORBIDDEN = frozenset('/\\:*?"<>|')  # separators, or not possible on Windows
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # control, formatting (bidi), surrogates, separators of lines


def require_name(name: str, where: object = "") -> str:
    """`name`, if it can name a category or a defect: a folder of its own, inside another, on every operating system.

    Args:
        name: Text from a file, a folder or the command line.
        where: The file or folder that it comes from, for the message.

    Raises:
        InvalidNameError: It is empty, hidden, a path, too long, or holds characters that cannot be seen or stored.
    """
    problem = _problem(name)
    if problem:
        raise InvalidNameError(
            f"{_shown(name)} cannot name a category or a defect: {problem}; use letters, digits, - and _", where
        )
    return name


@lru_cache(maxsize=1024)
def _problem(name: str) -> str:
    """What is wrong with a name; empty: nothing."""
    text = unicodedata.normalize("NFC", name)  # as some file systems store it
    if not text.strip():
        return "it is empty"
    if text != text.strip() or text.endswith("."):
        return "it begins or ends with a space, or ends with a point"
    if text.startswith("."):
        return "it begins with a point"
    forbidden = sorted(_FORBIDDEN.intersection(text))
    if forbidden:
        return f"it holds {forbidden[0]!r}"
    if not name.isprintable():
        return "it holds characters that cannot be seen"
    if len(text.encode()) > _MOST_BYTES or len(name.encode()) > _MOST_BYTES:
        return f"it has more than {_MOST_BYTES} bytes"
    if text.split(".")[0].rstrip().lower() in _DEVICES:
        return "Windows reserves it for a device"
    return ""


def require_path_inside(path: str, where: object = "") -> str:
    """`path`, if it can only lead to something inside the folder that it is relative to; separators are slashes.

    Raises:
        InvalidNameError: It is empty, absolute, leads upwards, is too long, or holds characters that cannot be seen.
    """
    parts = path.split("/")
    fine = path.isprintable() and not set(path) & {"\\", ":"} and not {"", ".", ".."} & set(parts)
    if not fine or len(path.encode()) > _MOST_PATH_BYTES or any(len(part.encode()) > 255 for part in parts):
        raise InvalidNameError(
            f"{_shown(path)} is not a path inside this folder, such as test/hole/000001.png; correct the entry", where
        )
    return path


@contextmanager
def names_in(where: object) -> Iterator[None]:
    """Let an `InvalidNameError` of this block say which file or folder holds the name."""
    try:
        yield
    except InvalidNameError as error:
        raise InvalidNameError(error.problem, where) from None


def printable(text: str) -> str:
    """`text` as one line that a terminal only shows: whatever could steer it is written as an escape.

    These are control characters, line breaks, marks that change the direction of text, and halves of characters.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _UNSEEN else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shown(name: str) -> str:
    return repr(name) if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]!r}..."
