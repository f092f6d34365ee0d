"""What is pasted from: one recorded defect."""

from __future__ import annotations

from typing import NamedTuple

from defect_synth.samples import Pixels


class Triplet(NamedTuple):
    """A defect image, its mask, and the same object without the defect where there is one.

    Attributes:
        clean: uint8 [H, W, 3] or None.
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] in {0, 1}.
    """

    clean: Pixels | None
    image: Pixels
    mask: Pixels
