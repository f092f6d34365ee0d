"""One recorded defect, which is pasted from."""

from __future__ import annotations

from typing import NamedTuple

from defect_synth.samples import Pixels


class RecordedDefect(NamedTuple):
    """A defect image with its mask, and the same object without the defect where that is known.

    Attributes:
        clean: uint8 [H, W, 3], or None.
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] in {0, 1}.
    """

    clean: Pixels | None
    image: Pixels
    mask: Pixels
