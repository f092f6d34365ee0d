"""Which number stands for which defect, in every format."""

from __future__ import annotations

from collections.abc import Sequence

from defect_synth.errors import DataError

GOOD = "good"
"""What number 0 stands for. No annotation has it: COCO's and LabelMe's tools keep 0 for the background."""


def label_numbers(defects: Sequence[str]) -> dict[str, int]:
    """Numbers of "good", which is 0, and of a source's defects in alphabetical order, in ascending order.

    They follow from the defects that the source has, not from those that are exported or from the order of samples.

    Raises:
        DataError: A defect is called "good".
    """
    if GOOD in defects:
        raise DataError(f"a defect is called {GOOD!r}, as images without a defect are; give it another name")
    return {name: number for number, name in enumerate((GOOD, *sorted(set(defects))))}
