"""Open a safetensors file whose header is of a bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from defect_synth.errors import CheckpointError, DataError
from defect_synth.files import MIB, open_file

_MOST_HEADER = 8 * MIB  # of JSON, which takes up to thirty times as much memory; a painter has 200 kB


@contextmanager
def opened_safetensors(path: Path, framework: Literal["pt", "numpy"], remedy: str) -> Iterator[Any]:
    """The open file, as `safetensors.safe_open` gives it; what is wrong with it is told in one line.

    The library checks that tensors fill the file without gaps and overlaps. It reads headers of 100 MB.

    Args:
        path: The file.
        framework: What `get_tensor` gives.
        remedy: What to do about a damaged file, the end of the message.

    Raises:
        CheckpointError: It is missing, damaged, no safetensors file, or has a header that is too long.
    """
    try:
        with open_file(path) as file:
            length = int.from_bytes(file.read(8), "little")
            size = file.seek(0, 2)
    except DataError as error:
        raise CheckpointError(str(error)) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    if 8 + length <= size and length > _MOST_HEADER:
        raise CheckpointError(
            f"{path} has a header of {length / MIB:.0f} MiB, at most {_MOST_HEADER / MIB:g}; {remedy}"
        )
    try:
        with safe_open(path, framework=framework) as opened:
            yield opened
    except (SafetensorError, OSError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file ({str(error)[:80]}); {remedy}") from None
