"""How good are generated defects? Every figure of this package in one call, each under its own name.

Nothing here says "good" or "bad": figures stand beside the same figure of real images, or have an interval, so that a
reader can tell a difference from the noise of ten images.
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
    Embedding,
    FeatureEmbedding,
    clustered_lpips,
    summary,
)
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.metrics.figures import DefectQuality, Quality
from defect_synth.metrics.measure import Measured, Measurer, as_tensor
from defect_synth.metrics.quality_figures import Compared, closest, figures_of
from defect_synth.nn.memory import keep_memory
from defect_synth.samples import DefectSource, FiniteSource, content_digest

Progress = Callable[[str, int, int], None]
"""(what is being done, images done, images in all)."""


@dataclass(frozen=True, eq=False)
class RealDefects:
    """Real images of one defect.

    Attributes:
        training: What the generator has learnt from; all of them where that is not known.
        held_out: Others, which it has never seen; None or empty where there are none.
    """

    training: ImageArrays
    held_out: ImageArrays | None = None


def assess(
    source: DefectSource,
    real: Mapping[str, RealDefects],
    extractors: Sequence[FeatureExtractor],
    *,
    embedding: Embedding | None = None,
    count: int = 5000,
    lpips_count: int = 1000,
    seed: int = 0,
    cache: str | Path | None = None,
    name: str = "",
    device: str = "cpu",
    progress: Progress | None = None,
) -> Quality:
    """Measure a source of defect samples against real ones.

    Samples are drawn, measured and forgotten in chunks of 64, so memory does not grow with `count` except for the
    features and, for `lpips_count` images, their pixels. With `cache` every finished chunk is kept; the same call goes
    on after an interruption.

    Args:
        source: A DFMGAN, a baseline, a generated folder, ... One that is finite (has a method `seeds(defect)`) is used
            as far as it goes; of any other, samples 0, 1, 2, ... are drawn.
        real: Defect -> its real images, all squares of one side.
        extractors: The first one also finds the nearest training images.
        embedding: For clustered LPIPS: `LPIPS`; None: the first extractor stands in, under its own name.
        count: Generated images of each defect: 5,000 in the paper.
        lpips_count: Of which this many enter clustered LPIPS: 1,000 in the paper.
        seed: Of subsets and resampling.
        cache: Folder for what was computed.
        name: How the report calls the source.
        device: Where images are put; networks must be there already.
        progress: Called as work goes on.

    Raises:
        ConfigError: No extractor, two of one name, or an empty digest.
        DataError: No real images, or real images of different sides.
        UnknownDefectError: The source does not have a defect of `real`.
    """
    if not extractors:
        raise ConfigError("quality needs at least 1 feature extractor, got 0")
    if not real:
        raise DataError("quality needs the real images of at least 1 defect, got none")
    for defect in real:
        if defect not in source.defects:
            raise UnknownDefectError(defect, source.category, source.defects)
    resolutions = {arrays.resolution for images in real.values() for arrays in _sets(images)}
    if len(resolutions) != 1:
        raise DataError(f"real images must be of one side, got {', '.join(map(str, sorted(resolutions)))} pixels")
    keep_memory()
    embedding = FeatureEmbedding(extractors[0]) if embedding is None else embedding
    for part in (source, *extractors, embedding):
        if not part.digest:
            raise ConfigError(
                f"{type(part).__name__} has an empty digest, so its results cannot be told from those of another one; "
                "give it a digest of its weights and settings"
            )
    kept = ArrayCache(cache)
    measurer = Measurer(extractors, resolutions.pop(), kept, device)
    defects = tuple(
        _assess_defect(source, defect, images, measurer, embedding, kept,
                       _seeds(source, defect, count), lpips_count, seed, progress or _silent)
        for defect, images in real.items()
    )  # fmt: skip
    about = {
        "features": " + ".join(measurer.names),
        "clusters": embedding.name,
        "count": str(count),
        "for clusters": str(lpips_count),
        "seed": str(seed),
        "defect-synth": _version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }
    return Quality(source.category, name or type(source).__name__, source.digest, defects, about)


def _assess_defect(
    source: DefectSource,
    defect: str,
    real: RealDefects,
    measurer: Measurer,
    embedding: Embedding,
    cache: ArrayCache,
    seeds: Sequence[int],
    lpips_count: int,
    seed: int,
    progress: Progress,
) -> DefectQuality:
    for_clusters = min(lpips_count, len(seeds))
    total = len(seeds) + for_clusters
    training = as_tensor(real.training.images)
    key = ["clusters", source.digest, source.category, defect, list(seeds[:for_clusters]), measurer.resolution]
    clusters = _Clusters(embedding, training, cache)
    known = clusters.known(key)
    parts: list[Measured] = []
    pixels: list[Tensor] = []
    done = 0
    keep = for_clusters if known is None else 0
    for part, images in measurer.samples(source, defect, seeds, keep_images=keep):
        parts.append(part)
        pixels += [] if images is None else [images]
        done += len(part)
        progress(f"{defect}: draw and measure", done, total)
    if known is None:
        known = clusters.of(
            key,
            torch.cat(pixels),
            lambda now, wanted: progress(
                f"{defect}: clusters ({embedding.name})", len(seeds) + now * for_clusters // wanted, total
            ),
        )
    held_out = None if real.held_out is None or not len(real.held_out) else real.held_out
    compared = Compared(
        training=measurer.measure(real.training.images, real.training.masks),
        held_out=None if held_out is None else measurer.measure(held_out.images, held_out.masks),
        generated=Measured.joined(parts),
        seed=seed,
    )
    progress(f"{defect}: figures", total, total)
    figures, skipped = figures_of(compared, measurer.names, known, embedding.name)
    return DefectQuality(
        defect=defect,
        generated=len(compared.generated),
        training=len(real.training),
        held_out=0 if held_out is None else len(held_out),
        figures=figures,
        skipped=skipped,
        closest=closest(compared, measurer.names[0], seeds, real.training.names),
    )


class _Clusters:
    """Clustered LPIPS, kept on disk."""

    def __init__(self, embedding: Embedding, real: Tensor, cache: ArrayCache) -> None:
        self._embedding = embedding
        self._real = real
        self._cache = cache
        # A stand-in takes pixels only, so it has no wrong scale to imitate.
        self._protocols = (CORRECTED,) if isinstance(embedding, FeatureEmbedding) else (OFFICIAL, CORRECTED)
        self._about = [embedding.digest, content_digest("real", [real.numpy()])]

    def known(self, key: list[Any]) -> tuple[ClusteredDistance, ...] | None:
        """What was kept under this key."""
        arrays = self._cache.get([key, self._about])
        if arrays is None:
            return None
        return tuple(
            summary(
                protocol.name,
                arrays[f"{protocol.name}/clusters"].tolist(),
                arrays[f"{protocol.name}/sizes"].tolist(),
                int(arrays[f"{protocol.name}/dropped"]),
            )
            for protocol in self._protocols
        )

    def of(
        self, key: list[Any], generated: Tensor, progress: Callable[[int, int], None]
    ) -> tuple[ClusteredDistance, ...]:
        """What was kept, or what is computed and kept now."""
        known = self.known(key)
        if known is not None:
            return known
        found = clustered_lpips(self._embedding, generated, self._real, self._protocols, progress=progress)
        arrays = {}
        for each in found:
            arrays[f"{each.protocol}/clusters"] = torch.tensor(each.clusters, dtype=torch.float64)
            arrays[f"{each.protocol}/sizes"] = torch.tensor(each.sizes)
            arrays[f"{each.protocol}/dropped"] = torch.tensor(each.dropped)
        self._cache.put([key, self._about], arrays)
        return found


def _sets(images: RealDefects) -> list[ImageArrays]:
    return [images.training] if images.held_out is None else [images.training, images.held_out]


def _seeds(source: DefectSource, defect: str, count: int) -> list[int]:
    """The first `count` samples of a finite source, 0 ... count - 1 of any other."""
    seeds = [int(s) for s in source.seeds(defect)][:count] if isinstance(source, FiniteSource) else list(range(count))
    if len(seeds) < 2:
        raise DataError(f"quality needs at least 2 generated images of {defect}, got {len(seeds)}")
    return seeds


def _silent(_text: str, _done: int, _total: int) -> None:
    return


def _version() -> str:
    from defect_synth import __version__

    return __version__
