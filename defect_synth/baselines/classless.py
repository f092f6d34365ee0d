"""Defects without a category: what the class-less systems (Cutout, CutPaste, Perlin) have in common.

They learn nothing from real defects, so nothing they make is a crack or a hole: their one defect is called `defect`,
and no classifier of defects can learn from it. Masks are exact, being the pixels that differ from the good image.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, Pixels, Provenance

DEFECT = "defect"
"""The name of a defect of no category."""

Drawn = Mapping[str, str | int | float | bool | None]
_TRIES = 20


class Spoil(Protocol):
    """Changes a copy of a good image somewhere."""

    def __call__(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        """The changed image uint8 [H, W, 3] and what was drawn, for the provenance."""
        ...


class ClassLess:
    """A `DefectSource` that spoils good images.

    Args:
        method: Name for the provenance.
        category: Object category.
        good: Defect-free images, uint8 [N, H, W, 3].
        spoil: Changes an image; all it draws comes from the generator.
        digest: Names the settings of `spoil`.

    Raises:
        DataError: No good image.
    """

    def __init__(self, method: str, category: str, good: Pixels, spoil: Spoil, digest: str) -> None:
        if len(good) == 0:
            raise DataError(f"{method} needs at least one good image to change, got none")
        self.method, self.digest = method, f"{method} {digest} {zlib.crc32(np.ascontiguousarray(good).tobytes()):08x}"
        self._category, self._good, self._spoil = category, good, spoil

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """The one name there is."""
        return (DEFECT,)

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not `DEFECT`.
            DataError: Nothing that was drawn changes a good image.
        """
        if defect != DEFECT:
            raise UnknownDefectError(defect, self._category, self.defects)
        return [self._one(int(seed)) for seed in seeds]

    def _one(self, seed: int) -> DefectSample:
        rng = np.random.default_rng([seed, zlib.crc32(self.method.encode())])
        for _ in range(_TRIES):
            background = int(rng.integers(len(self._good)))
            clean = self._good[background].copy()
            image, drawn = self._spoil(clean.copy(), rng)
            mask = (image != clean).any(2).astype(np.uint8)
            if mask.any():  # black over black changes nothing: another place or image then
                parameters = {"good_image": background, **drawn}
                origin = Provenance(self.method, self._category, DEFECT, seed, parameters=parameters)
                return DefectSample(image, mask, DEFECT, origin, clean)
        raise DataError(f"{self.method}: seed {seed} changed none of {_TRIES} good images; are they of one colour?")
