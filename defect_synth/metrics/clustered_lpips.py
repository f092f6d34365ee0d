"""Clustered LPIPS@1k (Sec. 4.2, Duan et al. 2023): the variety of generated images that resemble the same real image.

Each generated image is assigned to the real image it is closest to. The score of such a cluster is the mean distance
between two of its members, and the figure is the mean over all real images. Copies of the training images score near 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.errors import DataError
from defect_synth.metrics.features import FeatureExtractor

_BATCH = 32
_COLUMNS = 1 << 14  # numbers of each vector that are multiplied at a time


class PerceptualEmbedding(Protocol):
    """Maps images to vectors whose squared Euclidean distances are a perceptual distance, such as `LPIPS`."""

    @property
    def name(self) -> str:
        """What reports call the distance."""
        ...

    @property
    def digest(self) -> str:
        """Identifies the weights: embeddings with the same digest give the same vectors. Not empty."""
        ...

    def embed(self, images: Tensor) -> Tensor:
        """uint8 pixels or float signal [N, 3, H, W] -> float32 [N, D]."""
        ...


class FeatureEmbedding:
    """Features of any extractor, scaled to length 1: a substitute for `LPIPS` where its weights are missing.

    Distances are 0..4 on a scale of their own, so reports call them "clustered distance (name of the extractor)".

    Args:
        extractor: Takes pixels only, so that the `official` protocol with its wrong value range is not possible.
    """

    def __init__(self, extractor: FeatureExtractor) -> None:
        self.name = extractor.name
        self.digest = extractor.digest
        self._extractor = extractor

    def embed(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] -> float32 [N, D]."""
        return torch.nn.functional.normalize(self._extractor(images), dim=1)


@dataclass(frozen=True)
class ClusterProtocol:
    """In what the authors' program and the text of the paper differ.

    Attributes:
        name: `official` or `corrected`.
        cap: Number of members of a cluster that count, the first in order; None means all.
        real_as_bytes: Real images have values 0..255 instead of [-1, 1] in the search for the nearest one.
    """

    name: str
    cap: int | None
    real_as_bytes: bool


OFFICIAL = ClusterProtocol("official", cap=200, real_as_bytes=True)
"""The authors' program: at most 200 members, and real images in the wrong value range (neither is in the paper)."""

CORRECTED = ClusterProtocol("corrected", cap=None, real_as_bytes=False)
"""The text of the paper."""


@dataclass(frozen=True)
class ClusteredDistance:
    """The figure and the clusters it is computed from.

    Attributes:
        protocol: `official` or `corrected`.
        value: Mean over all clusters. A cluster with fewer than 2 members counts as 0 in both protocols.
        filled: Mean over the clusters with at least 2 members; None if there is none.
        clusters: Mean pairwise distance of each cluster, in the order of the real images.
        sizes: Number of members of each cluster that count.
        dropped: Number of generated images beyond the cap.
    """

    protocol: str
    value: float
    filled: float | None
    clusters: tuple[float, ...]
    sizes: tuple[int, ...]
    dropped: int


def clustered_lpips(
    embedding: PerceptualEmbedding,
    generated: Tensor,
    real: Tensor,
    protocols: tuple[ClusterProtocol, ...] = (OFFICIAL, CORRECTED),
    *,
    memory_gib: float = 3.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ClusteredDistance, ...]:
    """Clustered LPIPS of generated images, one result for each protocol.

    Each image goes through the network once if all vectors fit into `memory_gib`; 1,000 images of 256x256 pixels need
    2.4 GiB. Otherwise the vectors are computed again for each cluster, and a cluster that does not fit is processed in
    blocks, which is slower but gives the same result in bounded memory.

    Args:
        embedding: Usually `LPIPS`.
        generated: uint8 [N, 3, H, W], or float signal [N, 3, H, W] as a generator puts it out, neither clamped nor
            rounded, which is what the authors measure.
        real: uint8 [R, 3, H, W].
        protocols: They share the passes through the network.
        memory_gib: Bound on the memory of the vectors.
        progress: Called with the number of vectors computed and the number that is needed at least.

    Raises:
        DataError: There is no real image, or there are fewer than two generated ones.
    """
    if not len(real) or len(generated) < 2:
        raise DataError(
            f"clustered LPIPS needs at least 1 real and 2 generated images, got {len(real)} and {len(generated)}"
        )
    references = {
        as_bytes: embedding.embed(real.float() if as_bytes else real)
        for as_bytes in sorted({protocol.real_as_bytes for protocol in protocols})
    }
    vectors = _Vectors(embedding, generated, references[protocols[0].real_as_bytes].shape[1], memory_gib, progress)
    nearest: dict[bool, list[NDArray[np.int64]]] = {as_bytes: [] for as_bytes in references}
    for block in vectors.in_order():
        for as_bytes, reference in references.items():
            # Of several equally near real images the first one counts.
            nearest[as_bytes].append(squared_distances(block, reference).cpu().numpy().argmin(axis=1))
    return tuple(
        clustered_distance(np.concatenate(nearest[protocol.real_as_bytes]), len(real), vectors.mean_pairwise, protocol)
        for protocol in protocols
    )


def clustered_distance(
    nearest: NDArray[np.int64],
    count: int,
    mean_pairwise: Callable[[NDArray[np.int64]], float],
    protocol: ClusterProtocol,
) -> ClusteredDistance:
    """The figure from the assignment of the generated images.

    Args:
        nearest: Index of the nearest real image of each generated one, [N].
        count: Number of real images.
        mean_pairwise: Returns the mean distance over all pairs of the given generated images, of which there are at
            least two.
        protocol: Gives the cap.
    """
    members = [np.flatnonzero(nearest == real)[: protocol.cap] for real in range(count)]
    values = [mean_pairwise(rows) if len(rows) > 1 else 0.0 for rows in members]
    sizes = [len(rows) for rows in members]
    return summarise(protocol.name, values, sizes, len(nearest) - sum(sizes))


def summarise(protocol: str, clusters: Sequence[float], sizes: Sequence[int], dropped: int) -> ClusteredDistance:
    """The figure from its clusters.

    Args:
        protocol: Name of the protocol.
        clusters: Mean pairwise distance of each cluster, 0 for fewer than two members.
        sizes: Number of members of each cluster.
        dropped: Number of generated images beyond the cap.
    """
    filled = [value for value, size in zip(clusters, sizes, strict=True) if size > 1]
    return ClusteredDistance(
        protocol=protocol,
        value=float(np.mean(clusters)),
        filled=float(np.mean(filled)) if filled else None,
        clusters=tuple(clusters),
        sizes=tuple(sizes),
        dropped=dropped,
    )


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 of float32 [N, D] and [M, D] -> float64 [N, M], not negative.

    Computed from |x|^2 + |y|^2 - 2 x y, in float32 over 16,384 columns at a time, whose results are added in float64. A
    single float32 sum over the 640,000 numbers of a 256x256 image would have an error of 1e-5, a hundred times as much.
    """
    squared = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for start in range(0, x.shape[1], _COLUMNS):
        a, b = x[:, start : start + _COLUMNS], y[:, start : start + _COLUMNS]
        squared += a.square().sum(dim=1).double()[:, None] + b.square().sum(dim=1).double() - 2 * (a @ b.T).double()
    return squared.clamp_min_(0)


class _Vectors:
    """Vectors of the generated images, in memory if they fit, otherwise computed when they are needed."""

    def __init__(
        self,
        embedding: PerceptualEmbedding,
        images: Tensor,
        size: int,
        memory_gib: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._embedding = embedding
        self._images = images
        self._capacity = max(2 * _BATCH, int(memory_gib * 2**30 / (4 * size)))
        self._stored: Tensor | None = None
        self._progress = progress
        self._done = 0
        self._needed = len(images) * (1 if len(images) <= self._capacity else 2)

    def in_order(self) -> Iterator[Tensor]:
        """Yield every vector once, in blocks; must be called before `mean_pairwise`."""
        for start in range(0, len(self._images), _BATCH):
            block = self._compute(np.arange(start, min(start + _BATCH, len(self._images))))
            if len(self._images) <= self._capacity:
                if self._stored is None:
                    self._stored = block.new_empty(len(self._images), block.shape[1])
                self._stored[start : start + len(block)] = block
            yield block

    def mean_pairwise(self, rows: NDArray[np.int64]) -> float:
        """Mean squared distance over pairs of different images."""
        half = max(_BATCH, self._capacity // 2)
        blocks = [rows[i : i + half] for i in range(0, len(rows), half)]
        total = 0.0
        for i, first in enumerate(blocks):
            x = self._get(first)
            total += float(torch.triu(squared_distances(x, x), diagonal=1).sum())
            for second in blocks[i + 1 :]:
                total += float(squared_distances(x, self._get(second)).sum())
        return total / (len(rows) * (len(rows) - 1) / 2)

    def _get(self, rows: NDArray[np.int64]) -> Tensor:
        return self._compute(rows) if self._stored is None else self._stored[torch.from_numpy(rows)]

    def _compute(self, rows: NDArray[np.int64]) -> Tensor:
        vectors = self._embedding.embed(self._images[torch.from_numpy(rows)])
        self._done = min(self._done + len(rows), self._needed)
        if self._progress is not None:
            self._progress(self._done, self._needed)
        return vectors
