"""How good are generated defects? Every figure of this package in one call, each under its own name.

Each figure stands beside the same figure of real images or has an interval, so that a reader can tell a difference from
the noise of ten images. The report begins with what these intervals exclude, in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.metrics.array_cache import ArrayCache
from defect_synth.metrics.clustered_lpips import (
    CORRECTED,
    OFFICIAL,
    ClusteredDistance,
    FeatureEmbedding,
    PerceptualEmbedding,
    clustered_lpips,
    summarise,
)
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.metrics.measurements import Measurements, Measurer, to_tensor
from defect_synth.metrics.quality_figures import SetComparison, compute_figures, nearest_training_images
from defect_synth.metrics.quality_report import DefectQuality, QualityReport
from defect_synth.nn.memory import keep_memory
from defect_synth.samples import DefectSource, FiniteSource, content_digest

Progress = Callable[[str, int, int], None]
"""Called with a description of the current work, the number of images done and the number of images in all."""


@dataclass(frozen=True, eq=False)
class RealDefects:
    """Real images of one defect category.

    Attributes:
        training: The images that the generator was trained on, or all images if that is not known.
        held_out: Images that the generator has never seen; None or empty if there are none.
    """

    training: ImageArrays
    held_out: ImageArrays | None = None


def measure_quality(
    source: DefectSource,
    real: Mapping[str, RealDefects],
    extractors: Sequence[FeatureExtractor],
    *,
    embedding: PerceptualEmbedding | None = None,
    count: int = 5000,
    lpips_count: int = 1000,
    seed: int = 0,
    cache: str | Path | None = None,
    name: str = "",
    device: str = "cpu",
    progress: Progress | None = None,
) -> QualityReport:
    """Measure the samples of a source against real images.

    Samples are drawn, measured and discarded 64 at a time. Memory therefore does not grow with `count`, except for the
    features and for the pixels of `lpips_count` images. With a `cache` the results of every 64 samples are stored, and
    the same call continues after an interruption.

    Args:
        source: A DFMGAN, a baseline, a generated folder or any other source. Of a `FiniteSource` at most the samples
            that exist are used; of any other the seeds 0, 1, 2, ... are drawn.
        real: Real images by defect category, all squares of the same side.
        extractors: Feature extractors. The first one also finds the nearest training images.
        embedding: Distance for clustered LPIPS, usually `LPIPS`. With None the first extractor is used, and the report
            calls the figure "clustered distance".
        count: Generated images of each defect category; 5,000 in the paper.
        lpips_count: How many of these enter clustered LPIPS; 1,000 in the paper.
        seed: Seed of subsets and bootstrap samples.
        cache: Folder for intermediate results.
        name: What the report calls the source.
        device: Where images are sent before extractors see them. The networks must be there already.
        progress: Called as the work goes on.

    Raises:
        ConfigError: There is no extractor, two have the same name, or a digest is empty.
        DataError: There are no real images, or their sides differ.
        UnknownDefectError: The source does not have a defect category of `real`.
    """
    _check(source, real, extractors)
    resolutions = {arrays.resolution for images in real.values() for arrays in _arrays(images)}
    if len(resolutions) != 1:
        raise DataError(f"real images must have the same side, got {', '.join(map(str, sorted(resolutions)))} pixels")
    keep_memory()
    embedding = FeatureEmbedding(extractors[0]) if embedding is None else embedding
    digests = [(source, source.digest), *((e, e.digest) for e in extractors), (embedding, embedding.digest)]
    for part, digest in digests:
        if not digest:
            raise ConfigError(
                f"{type(part).__name__} has an empty digest, so its results cannot be told from those of another one; "
                "give it a digest of its weights and settings"
            )
    arrays = ArrayCache(cache)
    measurer = Measurer(extractors, resolutions.pop(), arrays, device)
    task = _QualityTask(source, measurer, embedding, arrays, count, lpips_count, seed, progress or _no_progress)
    defects = tuple(task.measure(defect, images) for defect, images in real.items())
    about = {
        "features": " + ".join(measurer.names),
        "clusters": embedding.name,
        "count": _drawn(defects, count),
        "for clusters": _drawn(defects, min(count, lpips_count)),
        "seed": str(seed),
        "defect-synth": _version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
    return QualityReport(source.category, name or type(source).__name__, source.digest, defects, about)


def _drawn(defects: Sequence[DefectQuality], most: int) -> str:
    """How many samples were used of each defect: one number, or one for each where a finite source has fewer."""
    numbers = {quality.defect: min(quality.generated, most) for quality in defects}
    if len(set(numbers.values())) == 1:
        return str(next(iter(numbers.values())))
    return ", ".join(f"{defect} {number}" for defect, number in numbers.items())


@dataclass(frozen=True, eq=False)
class _QualityTask:
    """The arguments that all defect categories of one call have in common."""

    source: DefectSource
    measurer: Measurer
    embedding: PerceptualEmbedding
    cache: ArrayCache
    count: int
    lpips_count: int
    seed: int
    progress: Progress

    def measure(self, defect: str, real: RealDefects) -> DefectQuality:
        """All figures of one defect category."""
        seeds = _seeds(self.source, defect, self.count)
        held_out = real.held_out if real.held_out is not None and len(real.held_out) else None
        generated, clusters = self._generated(defect, seeds, to_tensor(real.training.images))
        comparison = SetComparison(
            training=self.measurer.measure(real.training.images, real.training.masks),
            held_out=None if held_out is None else self.measurer.measure(held_out.images, held_out.masks),
            generated=generated,
            seed=self.seed,
        )
        total = len(seeds) + min(self.lpips_count, len(seeds))
        self.progress(f"{defect}: figures", total, total)
        figures, skipped = compute_figures(comparison, self.measurer.names, clusters, self.embedding.name)
        return DefectQuality(
            defect=defect,
            generated=len(generated),
            training=len(real.training),
            held_out=0 if held_out is None else len(held_out),
            figures=figures,
            skipped=skipped,
            closest=nearest_training_images(comparison, self.measurer.names[0], seeds, real.training.names),
        )

    def _generated(
        self, defect: str, seeds: Sequence[int], training: Tensor
    ) -> tuple[Measurements, tuple[ClusteredDistance, ...]]:
        """Draw and measure the samples; training is uint8 [N, 3, R, R]."""
        for_clusters = min(self.lpips_count, len(seeds))
        total = len(seeds) + for_clusters
        clusters = _CachedClusters(self.embedding, training, self.cache)
        key = ["clusters", self.source.digest, self.source.category, defect, list(seeds[:for_clusters]),
               self.measurer.resolution]  # fmt: skip
        found = clusters.get(key)
        parts: list[Measurements] = []
        pixels: list[Tensor] = []
        done = 0
        for part, images in self.measurer.samples(
            self.source, defect, seeds, return_images=for_clusters if found is None else 0
        ):
            parts.append(part)
            pixels += [] if images is None else [images]
            done += len(part)
            self.progress(f"{defect}: draw and measure", done, total)
        if found is None:
            text = f"{defect}: clusters ({self.embedding.name})"
            found = clusters.compute(
                key,
                torch.cat(pixels),
                lambda now, wanted: self.progress(text, len(seeds) + now * for_clusters // wanted, total),
            )
        return Measurements.join(parts), found


class _CachedClusters:
    """Clustered LPIPS against the same real images, stored on disk."""

    def __init__(self, embedding: PerceptualEmbedding, real: Tensor, cache: ArrayCache) -> None:
        self._embedding = embedding
        self._real = real
        self._cache = cache
        # Feature extractors take pixels only, so they cannot imitate the wrong scale of the official protocol.
        self._protocols = (CORRECTED,) if isinstance(embedding, FeatureEmbedding) else (OFFICIAL, CORRECTED)
        self._about = [embedding.digest, content_digest("real", [real.numpy()])]

    def get(self, key: list[Any]) -> tuple[ClusteredDistance, ...] | None:
        """The result stored under a key, None if there is none."""
        names = [f"{protocol.name}/{part}" for protocol in self._protocols for part in ("clusters", "sizes", "dropped")]
        arrays = self._cache.get([key, self._about], names)
        if arrays is None:
            return None
        return tuple(
            summarise(
                protocol.name,
                arrays[f"{protocol.name}/clusters"].tolist(),
                arrays[f"{protocol.name}/sizes"].tolist(),
                int(arrays[f"{protocol.name}/dropped"]),
            )
            for protocol in self._protocols
        )

    def compute(
        self, key: list[Any], generated: Tensor, progress: Callable[[int, int], None]
    ) -> tuple[ClusteredDistance, ...]:
        """Compute the result and store it under a key."""
        found = clustered_lpips(self._embedding, generated, self._real, self._protocols, progress=progress)
        arrays = {}
        for each in found:
            arrays[f"{each.protocol}/clusters"] = torch.tensor(each.clusters, dtype=torch.float64)
            arrays[f"{each.protocol}/sizes"] = torch.tensor(each.sizes)
            arrays[f"{each.protocol}/dropped"] = torch.tensor(each.dropped)
        self._cache.put([key, self._about], arrays)
        return found


def _check(source: DefectSource, real: Mapping[str, RealDefects], extractors: Sequence[FeatureExtractor]) -> None:
    if not extractors:
        raise ConfigError("quality needs at least 1 feature extractor, got 0")
    if not real:
        raise DataError("quality needs the real images of at least 1 defect category, got none")
    for defect in real:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, source.defects)


def _arrays(images: RealDefects) -> list[ImageArrays]:
    return [images.training] if images.held_out is None else [images.training, images.held_out]


def _seeds(source: DefectSource, defect: str, count: int) -> list[int]:
    """The first `count` seeds of a finite source, 0 ... count - 1 of any other."""
    available = source.seeds(defect) if isinstance(source, FiniteSource) else range(count)
    seeds = [int(seed) for seed in available][:count]
    if len(seeds) < 2:
        raise DataError(f"quality needs at least 2 generated images of {defect}, got {len(seeds)}")
    return seeds


def _no_progress(_text: str, _done: int, _total: int) -> None:
    return


def _version() -> str:
    from defect_synth import __version__

    return __version__
