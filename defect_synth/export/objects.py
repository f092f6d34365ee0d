"""Which samples show the same object, so that none is both learnt from and scored on."""

from __future__ import annotations

import hashlib

from defect_synth.samples import DefectSample

_EVERY = 5  # one object of so many is held out


class Objects:
    """Numbers the objects of samples in the order in which they appear; equal clean images show one object."""

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self._count = 0

    def add(self, sample: DefectSample) -> tuple[int, bool]:
        """The number of a sample's object, from 0, and whether this is its first sample.

        A sample without a clean image counts as an object of its own.
        """
        number = self._count
        if sample.clean is not None:
            digest = hashlib.sha256(repr(sample.clean.shape).encode() + sample.clean.tobytes()).digest()
            number = self._known.setdefault(digest, number)
        is_new = number == self._count
        self._count += is_new
        return number, is_new


def held_out(number: int) -> bool:
    """Whether an object is for testing: every fifth one, beginning with the second."""
    return number % _EVERY == 1
