"""Distances between feature vectors and nearest neighbours."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 1024


def squared_euclidean(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|^2 of [N, D] and [M, D] -> float64 [N, M]; for equal rows it is 0 up to rounding."""
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features must be [N, D] and [M, D], got {list(x.shape)} and {list(y.shape)}")
    x, y = x.double(), y.double()
    squared = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1) - 2 * (x @ y.T)
    return squared.clamp_min_(0)


def to_kth_neighbour(x: Tensor, k: int) -> Tensor:
    """Squared distance of each row to its k-th nearest other row, float64 [N]; k must be below N."""
    if not 1 <= k < len(x):
        raise ValueError(f"k must be 1..{len(x) - 1} for {len(x)} rows, got {k}")
    parts = []
    for start in range(0, len(x), _ROWS):
        squared = squared_euclidean(x[start : start + _ROWS], x)
        here = torch.arange(len(squared), device=x.device)
        squared[here, here + start] = torch.inf  # a row is not its own neighbour
        parts.append(squared.kthvalue(k, dim=1).values)
    return torch.cat(parts)


def to_nearest(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Distance (not squared) of each row of x [N, D] to the nearest row of y [M, D], and that row's index; [N] each."""
    parts = [squared_euclidean(x[i : i + _ROWS], y).min(dim=1) for i in range(0, len(x), _ROWS)]
    return torch.cat([part.values for part in parts]).sqrt(), torch.cat([part.indices for part in parts])


def share_in_balls(points: Tensor, centres: Tensor, squared_radii: Tensor) -> float:
    """Share of points [N, D] that lie in at least one ball around centres [M, D]."""
    inside = 0
    for start in range(0, len(points), _ROWS):
        squared = squared_euclidean(points[start : start + _ROWS], centres)
        inside += int((squared <= squared_radii).any(dim=1).sum())
    return inside / len(points)
