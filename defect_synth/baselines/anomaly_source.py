"""Simulated anomalies: defects of no category, made by changing normal images (Cutout, CutPaste, Perlin).

Nothing is learnt from real defects, so what is made is neither a crack nor a hole: the only defect category is called
`defect`, and a classifier of defects cannot learn from it. Masks are exact: the pixels that differ from the normal
image.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, Pixels, Provenance, content_digest

ANY_DEFECT = "defect"
"""The defect category of simulated anomalies."""

Drawn = Mapping[str, str | int | float | bool | None]
"""Drawn parameters, for the provenance."""

_MAX_TRIES = 20


class AnomalySource(ABC):
    """A `DefectSource` that changes normal images; a subclass says how.

    Args:
        method: Method name for the provenance.
        category: Object category.
        normal: Normal images, uint8 [N, H, W, 3].

    Raises:
        DataError: There is no normal image.
    """

    def __init__(self, method: str, category: str, normal: Pixels) -> None:
        if len(normal) == 0:
            raise DataError(f"{method} needs at least one normal image to change, got none")
        self.method, self._category, self._normal = method, category, normal

    @abstractmethod
    def simulate(self, image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Drawn]:
        """Change an image somewhere.

        Args:
            image: uint8 [H, W, 3]; a copy that may be written to.
            rng: Draws everything random.

        Returns:
            The changed image, uint8 [H, W, 3], and the drawn parameters.
        """

    @abstractmethod
    def settings(self) -> str:
        """Identifies everything besides the normal images that `simulate` depends on."""

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """`ANY_DEFECT` alone."""
        return (ANY_DEFECT,)

    @cached_property
    def digest(self) -> str:
        """Identifies the method, its settings and the normal images."""
        return content_digest(f"{self.method} {self.settings()} {self._category}", [self._normal])

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not `ANY_DEFECT`.
            DataError: Twenty changes left the normal images as they were.
        """
        if defect != ANY_DEFECT:
            raise UnknownDefectError(defect, self._category, self.defects)
        return [self._sample(int(seed)) for seed in seeds]

    def _sample(self, seed: int) -> DefectSample:
        rng = np.random.default_rng([seed, zlib.crc32(self.method.encode())])
        for _ in range(_MAX_TRIES):
            number = int(rng.integers(len(self._normal)))
            clean = self._normal[number].copy()
            image, drawn = self.simulate(clean.copy(), rng)
            mask = (image != clean).any(2).astype(np.uint8)
            if mask.any():  # a black square on black changes nothing; then another image and place are drawn
                origin = Provenance(
                    self.method, self._category, ANY_DEFECT, seed, parameters={"good_image": number, **drawn}
                )
                return DefectSample(image, mask, ANY_DEFECT, origin, clean)
        raise DataError(
            f"{self.method}: seed {seed} changed nothing in {_MAX_TRIES} normal images; are they of one colour?"
        )
