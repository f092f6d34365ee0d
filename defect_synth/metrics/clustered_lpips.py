"""Clustered LPIPS@1k (Sec. 4.2, Duan et al. 2023): how different generated images are that resemble the same real one.

Every generated image joins the real image it is closest to; a cluster's score is the mean distance of two of its
members; the figure is the mean over all real images. Copies of the training images score near 0.
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
_PIECE = 1 << 14


class Embedding(Protocol):
    """Images -> vectors whose squared Euclidean distances are the perceptual distance, such as `LPIPS`."""

    @property
    def name(self) -> str:
        """What reports call the distance."""
        ...

    @property
    def digest(self) -> str:
        """Names the weights: equal digests give equal vectors."""
        ...

    def embed(self, images: Tensor) -> Tensor:
        """uint8 [N, 3, H, W] or float signal -> float32 [N, D]."""
        ...


class FeatureEmbedding:
    """Stand-in for `LPIPS` without its weights: features of any extractor, scaled to length 1.

    Distances are 0..4 and on a scale of their own: reports call them "clustered distance (name of the extractor)".

    Args:
        extractor: Takes pixels only, so the `official` protocol, which feeds bytes as signal, is not possible.
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
    """What the authors' program and the paper's text do differently.

    Attributes:
        name: `official` or `corrected`.
        cap: Members that count in a cluster, the first in order; None: all.
        real_as_bytes: Real images enter the distance as 0..255 and not as [-1, 1] while the nearest is sought.
    """

    name: str
    cap: int | None
    real_as_bytes: bool


OFFICIAL = ClusterProtocol("official", cap=200, real_as_bytes=True)
"""The authors' program: at most 200 members, references on a wrong scale (both not in the paper)."""

CORRECTED = ClusterProtocol("corrected", cap=None, real_as_bytes=False)
"""The paper's text."""


@dataclass(frozen=True)
class ClusteredDistance:
    """The figure and what it is made of.

    Attributes:
        protocol: `official` or `corrected`.
        value: Mean over all clusters; a cluster with fewer than 2 members counts 0, in both protocols.
        filled: Mean over the clusters with at least 2 members; None where there is none.
        clusters: Mean pairwise distance of each cluster, in the order of the real images.
        sizes: Members that counted.
        dropped: Generated images beyond the cap.
    """

    protocol: str
    value: float
    filled: float | None
    clusters: tuple[float, ...]
    sizes: tuple[int, ...]
    dropped: int


def nearest(distances: NDArray[np.floating]) -> NDArray[np.int64]:
    """Index of the closest real image of each generated one, [N, R] -> [N]; the first of equally close ones."""
    chosen: NDArray[np.int64] = np.asarray(distances).argmin(axis=1).astype(np.int64)
    return chosen


def clusters_of(chosen: NDArray[np.int64], count: int, cap: int | None) -> list[NDArray[np.int64]]:
    """Members of each of `count` clusters, ascending, at most `cap` of them; `chosen` [N] from `nearest`."""
    return [np.flatnonzero(chosen == real)[:cap] for real in range(count)]


def clustered_distance(
    chosen: NDArray[np.int64],
    count: int,
    mean_pairwise: Callable[[NDArray[np.int64]], float],
    protocol: ClusterProtocol,
) -> ClusteredDistance:
    """The arithmetic alone.

    Args:
        chosen: Cluster of each generated image, [N], values below `count`.
        count: Number of real images.
        mean_pairwise: Mean distance over pairs of different members; called with 2 or more members.
        protocol: Its cap is used.
    """
    members = clusters_of(chosen, count, protocol.cap)
    values = [mean_pairwise(group) if len(group) > 1 else 0.0 for group in members]
    sizes = [len(group) for group in members]
    return summary(protocol.name, values, sizes, len(chosen) - sum(sizes))


def summary(protocol: str, clusters: Sequence[float], sizes: Sequence[int], dropped: int) -> ClusteredDistance:
    """The figure from its clusters: mean pairwise distances (0 below two members) and numbers of members."""
    filled = [value for value, size in zip(clusters, sizes, strict=True) if size > 1]
    return ClusteredDistance(
        protocol=protocol,
        value=float(np.mean(clusters)),
        filled=float(np.mean(filled)) if filled else None,
        clusters=tuple(clusters),
        sizes=tuple(sizes),
        dropped=dropped,
    )


def clustered_lpips(
    embedding: Embedding,
    generated: Tensor,
    real: Tensor,
    protocols: tuple[ClusterProtocol, ...] = (OFFICIAL, CORRECTED),
    *,
    memory_gib: float = 3.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ClusteredDistance, ...]:
    """Clustered LPIPS of generated images, one result per protocol.

    Each image goes through the network once if all vectors fit in `memory_gib` (1,000 images at 256x256 need 2.4 GiB).
    Where they do not, they are computed again for each cluster, and a cluster that does not fit is done in blocks:
    slower, but the same result in bounded memory.

    Args:
        embedding: Usually `LPIPS`.
        generated: uint8 [N, 3, H, W], or float signal [N, 3, H, W] as a generator puts it out (what the authors
            measure: neither clamped nor rounded).
        real: uint8 [R, 3, H, W].
        protocols: Share the network passes.
        memory_gib: Bound on the vectors held at a time.
        progress: Called with (vectors computed, vectors needed at least).

    Raises:
        DataError: No real image, or fewer than two generated ones.
    """
    if not len(real) or len(generated) < 2:
        raise DataError(
            f"clustered LPIPS needs at least 1 real and 2 generated images, got {len(real)} and {len(generated)}"
        )
    references = {
        wrong: embedding.embed(real.float() if wrong else real)
        for wrong in sorted({protocol.real_as_bytes for protocol in protocols})
    }
    vectors = _Vectors(embedding, generated, references[protocols[0].real_as_bytes].shape[1], memory_gib, progress)
    chosen: dict[bool, list[NDArray[np.int64]]] = {wrong: [] for wrong in references}
    for block in vectors.in_order():
        for wrong, reference in references.items():
            chosen[wrong].append(nearest(squared_distances(block, reference).cpu().numpy()))
    return tuple(
        clustered_distance(np.concatenate(chosen[protocol.real_as_bytes]), len(real), vectors.mean_pairwise, protocol)
        for protocol in protocols
    )


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 of float32 [N, D] and [M, D] -> float64 [N, M], not negative.

    From |x|^2 + |y|^2 - 2 x y, in float32 over pieces of D that are added up in float64: a single float32 sum over the
    640,000 numbers of a 256x256 image would be off by 1e-5, a hundred times more.
    """
    squared = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for start in range(0, x.shape[1], _PIECE):
        a, b = x[:, start : start + _PIECE], y[:, start : start + _PIECE]
        squared += a.square().sum(dim=1).double()[:, None] + b.square().sum(dim=1).double() - 2 * (a @ b.T).double()
    return squared.clamp_min_(0)


class _Vectors:
    """Vectors of the generated images: all kept where they fit, otherwise computed when asked for."""

    def __init__(
        self,
        embedding: Embedding,
        images: Tensor,
        size: int,
        memory_gib: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._embedding = embedding
        self._images = images
        self._fit = max(2 * _BATCH, int(memory_gib * 2**30 / (4 * size)))
        self._kept: Tensor | None = None
        self._progress = progress
        self._done = 0
        self._wanted = len(images) * (1 if len(images) <= self._fit else 2)

    def in_order(self) -> Iterator[Tensor]:
        """Every vector once, in blocks; must come before `mean_pairwise`."""
        for start in range(0, len(self._images), _BATCH):
            block = self._compute(np.arange(start, min(start + _BATCH, len(self._images))))
            if len(self._images) <= self._fit:
                if self._kept is None:
                    self._kept = block.new_empty(len(self._images), block.shape[1])
                self._kept[start : start + len(block)] = block
            yield block

    def mean_pairwise(self, rows: NDArray[np.int64]) -> float:
        """Mean squared distance over pairs of different images."""
        half = max(_BATCH, self._fit // 2)
        blocks = [rows[i : i + half] for i in range(0, len(rows), half)]
        total = 0.0
        for i, first in enumerate(blocks):
            x = self._of(first)
            total += float(torch.triu(squared_distances(x, x), diagonal=1).sum())
            for second in blocks[i + 1 :]:
                total += float(squared_distances(x, self._of(second)).sum())
        return total / (len(rows) * (len(rows) - 1) / 2)

    def _of(self, rows: NDArray[np.int64]) -> Tensor:
        return self._compute(rows) if self._kept is None else self._kept[torch.from_numpy(rows)]

    def _compute(self, rows: NDArray[np.int64]) -> Tensor:
        vectors = self._embedding.embed(self._images[torch.from_numpy(rows)])
        self._done = min(self._done + len(rows), self._wanted)
        if self._progress is not None:
            self._progress(self._done, self._wanted)
        return vectors
