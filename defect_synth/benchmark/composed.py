"""Sources made of the user's good images and something that puts a defect into them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from defect_synth.data.square import fit_to_square
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance

_TRIES = 20  # good images that a defect is tried on
_AT_ONCE = 16

Put = Callable[[Pixels, str, np.random.Generator], DefectSample]
"""Puts a defect into a good image uint8 [H, W, 3]; all it draws comes from the generator.

A sample with an empty mask says that it did not fit; another good image is tried then.
"""


class DoesNotFitError(DataError):
    """A defect fits on none of the good images that were tried."""


class OnGoodImages:
    """A `DefectSource`: a good image drawn by the seed, and a defect put into it.

    Args:
        method: Name for the provenance.
        category: Object category.
        defects: What `put` can put.
        good: Images uint8 [H, W, 3].
        put: Puts a defect into an image.
        digest: Names weights and settings of `put`.
    """

    def __init__(
        self, method: str, category: str, defects: Sequence[str], good: Sequence[Pixels], put: Put, digest: str = ""
    ) -> None:
        self.method = method
        named = hashlib.sha256(digest.encode())
        for image in good:
            named.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        self.digest = named.hexdigest()
        self._category, self._defects = category, tuple(sorted(defects))
        self._good, self._put = good, put

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._defects

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DoesNotFitError: The defect fits on no good image.
        """
        if defect not in self._defects:
            raise UnknownDefectError(defect, self._category, self._defects)
        return [self._one(defect, int(seed)) for seed in seeds]

    def _one(self, defect: str, seed: int) -> DefectSample:
        rng = np.random.default_rng([seed, zlib.crc32(f"{self.method}/{defect}".encode())])
        for _ in range(_TRIES):
            background = int(rng.integers(len(self._good)))
            made = self._put(self._good[background].copy(), defect, rng)
            if made.mask.any():
                origin = Provenance(self.method, self._category, defect, seed, self.digest, {"good_image": background})
                return replace(made, defect=defect, provenance=origin)
        raise DoesNotFitError(
            f"no {defect} could be put into {_TRIES} good images; look at its masks with `defect-synth check`"
        )


class Alternating:
    """A `DefectSource` that takes turns: seed 0 of the first, seed 0 of the second, ..., seed 1 of the first, ....

    Args:
        sources: Of one category and with the same defects.
    """

    def __init__(self, sources: Sequence[DefectSource]) -> None:
        self._sources = tuple(sources)
        self.digest = "+".join(str(getattr(source, "digest", "")) for source in sources)

    @property
    def category(self) -> str:
        """Object category."""
        return self._sources[0].category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._sources[0].defects

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: A source does not have `defect`.
        """
        samples = []
        for seed in seeds:
            turn, which = divmod(int(seed), len(self._sources))
            one = self._sources[which].sample(defect, [turn])[0]
            samples.append(replace(one, provenance=replace(one.provenance, seed=int(seed))))
        return samples


class Fitted:
    """A `DefectSource` whose samples are seen as the benchmark sees real images: as squares of its resolution.

    What puts defects on images of their own size is used so, and shrunk like a photograph afterwards. A crack that is
    drawn on an image that was shrunk before is no crack any more.

    Args:
        source: Of images of any size.
        resolution: Side of the squares.
        how: As for `images.fit`.
    """

    def __init__(self, source: DefectSource, resolution: int, how: Literal["letterbox", "crop"]) -> None:
        self._source, self._resolution, self._how = source, resolution, how
        digest = f"{getattr(source, 'digest', '')} {resolution} {how}"
        self.digest = hashlib.sha256(digest.encode()).hexdigest()

    @property
    def category(self) -> str:
        """Object category."""
        return self._source.category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._source.defects

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        return [
            self._seen(sample)
            for start in range(0, len(seeds), _AT_ONCE)  # whole images are large
            for sample in self._source.sample(defect, seeds[start : start + _AT_ONCE])
        ]

    def _seen(self, sample: DefectSample) -> DefectSample:
        image, mask, _ = fit_to_square(sample.image, sample.mask, self._resolution, self._how)
        clean = (
            None if sample.clean is None else fit_to_square(sample.clean, sample.mask, self._resolution, self._how)[0]
        )
        return replace(sample, image=image, mask=mask, clean=clean)
