"""How much a file may make of its bytes. One budget is shared by a file and by everything that is nested in it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

MOST_STEPS = 500_000
"""Opcodes of the pickles of one file. The authors' snapshot at 1024 px has about 100,000."""
_SPARE = 1 << 16
_COPIES = 4  # bytes in the file are first text, then bytes, then a storage, where the protocol is old


class Budget:
    """Counts steps, bytes and elements down; what would go below zero is refused before it is done.

    A file can name one thing many times, so that a few bytes could stand for terabytes. What is honest needs each byte
    of the file a few times at most.

    Args:
        size: Bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._steps = MOST_STEPS
        self._bytes = _COPIES * size + _SPARE
        self._elements = size + _SPARE

    def spend_steps(self, count: int = 1) -> None:
        """Before `count` opcodes are carried out, or so many items copied.

        Raises:
            pickle.UnpicklingError: There are too many.
        """
        self._steps -= count
        if self._steps < 0:
            raise pickle.UnpicklingError(f"it has more than {MOST_STEPS} steps, which no file of weights needs")

    def spend_bytes(self, count: int) -> None:
        """Before `count` bytes are copied.

        Raises:
            pickle.UnpicklingError: They are many more than the file has.
        """
        self._bytes -= count
        if count < 0 or self._bytes < 0:
            raise pickle.UnpicklingError("its storages are much larger than the file")

    def spend_elements(self, shape: Sequence[int]) -> None:
        """Before a tensor of this shape is made.

        Raises:
            pickle.UnpicklingError: The tensors have more elements than the file has bytes.
        """
        count = 1
        for side in shape:
            count *= side
        self._elements -= count
        if count < 0 or self._elements < 0:
            raise pickle.UnpicklingError("its tensors have more elements than the file has bytes")
