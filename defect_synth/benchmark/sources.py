"""Sources that are made of other sources, or of good images and a function that puts a defect into them."""

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

_ATTEMPTS = 20  # good images on which a defect is tried
_CHUNK = 16

PutDefect = Callable[[Pixels, str, np.random.Generator], DefectSample]
"""Puts a defect of a category into a good image, uint8 [H, W, 3]; everything random comes from the generator.

A sample with an empty mask means that the defect did not fit; another good image is tried then.
"""


class DefectDoesNotFitError(DataError):
    """A defect fits on none of the good images that were tried."""


class DefectsOnGoodImages:
    """A `DefectSource` that draws a good image and puts a defect into it.

    Args:
        method: Name for the provenance.
        category: Object category.
        defects: Defect categories that `put` can put into an image.
        good: Good images, uint8 [H, W, 3] each.
        put: Puts a defect into an image.
        digest: Identifies the weights and settings of `put`.
    """

    def __init__(
        self, method: str, category: str, defects: Sequence[str], good: Sequence[Pixels], put: PutDefect, digest: str
    ) -> None:
        self.method = method
        hashed = hashlib.sha256(digest.encode())
        for image in good:
            hashed.update(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes())
        self._digest = hashed.hexdigest()
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

    @property
    def digest(self) -> str:
        """Identifies the good images, and the weights and settings of what puts defects into them."""
        return self._digest

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DefectDoesNotFitError: The defect fits on none of the good images that were tried.
        """
        if defect not in self._defects:
            raise UnknownDefectError(defect, self._category, self._defects)
        return [self._sample_one(defect, int(seed)) for seed in seeds]

    def _sample_one(self, defect: str, seed: int) -> DefectSample:
        rng = np.random.default_rng([seed, zlib.crc32(f"{self.method}/{defect}".encode())])
        for _ in range(_ATTEMPTS):
            index = int(rng.integers(len(self._good)))
            sample = self._put(self._good[index].copy(), defect, rng)
            if sample.mask.any():
                origin = Provenance(self.method, self._category, defect, seed, self._digest, {"good_image": index})
                return replace(sample, defect=defect, provenance=origin)
        raise DefectDoesNotFitError(
            f"no {defect} could be put into {_ATTEMPTS} good images; look at its masks with `defect-synth check`"
        )


class RoundRobinSource:
    """A `DefectSource` that takes turns between others: seed 0 of each of them, then seed 1 of each, and so on.

    Args:
        sources: Sources of one category, with the same defects.
    """

    def __init__(self, sources: Sequence[DefectSource]) -> None:
        self._sources = tuple(sources)

    @property
    def category(self) -> str:
        """Object category."""
        return self._sources[0].category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._sources[0].defects

    @property
    def digest(self) -> str:
        """The digests of all sources."""
        return "+".join(source.digest for source in self._sources)

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: A source does not have `defect`.
        """
        samples = []
        for seed in seeds:
            turn, which = divmod(int(seed), len(self._sources))
            sample = self._sources[which].sample(defect, [turn])[0]
            samples.append(replace(sample, provenance=replace(sample.provenance, seed=int(seed))))
        return samples


class ResizedSource:
    """A `DefectSource` whose samples are made square and resized as the benchmark does with real images.

    Sources that put defects into images of the original size are used this way: the defect is put in first and the
    image is shrunk afterwards, like a photograph. A crack drawn on an image that was shrunk before is too thick.

    Args:
        source: A source of images of any size.
        resolution: Side of the square images in pixels.
        how: As in `data.square.fit_to_square`.
    """

    def __init__(self, source: DefectSource, resolution: int, how: Literal["letterbox", "crop"]) -> None:
        self._source, self._resolution, self._how = source, resolution, how

    @property
    def category(self) -> str:
        """Object category."""
        return self._source.category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._source.defects

    @property
    def digest(self) -> str:
        """Identifies the source and how its samples are resized."""
        return hashlib.sha256(f"{self._source.digest} {self._resolution} {self._how}".encode()).hexdigest()

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        return [
            self._resized(sample)
            for start in range(0, len(seeds), _CHUNK)  # images of the original size are large
            for sample in self._source.sample(defect, seeds[start : start + _CHUNK])
        ]

    def _resized(self, sample: DefectSample) -> DefectSample:
        image, mask, _ = fit_to_square(sample.image, sample.mask, self._resolution, self._how)
        clean = None
        if sample.clean is not None:
            clean = fit_to_square(sample.clean, sample.mask, self._resolution, self._how)[0]
        return replace(sample, image=image, mask=mask, clean=clean)
