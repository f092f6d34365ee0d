"""Kernel inception distance (Binkowski et al. 2018): squared maximum mean discrepancy of feature vectors.

All arithmetic is in float64 on the device of the features. Only the features of `inception.InceptionFeatures` give the
published figure.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from defect_synth.errors import ConfigError, DataError

_LARGEST_SUBSET = 1000
_NUMBERS = 1 << 20  # feature values in memory at a time
_ROWS = 512  # kernel rows in memory at a time, 20 MB for 5,000 images


def polynomial_kernel(x: Tensor, y: Tensor, degree: int = 3, gamma: float | None = None, coef: float = 1) -> Tensor:
    """(gamma <x_i, y_j> + coef) ** degree of x [N, D] and y [M, D] -> float64 [N, M]; gamma None means 1 / D.

    Both may have one more dimension in front: [S, N, D] and [S, M, D] -> [S, N, M].

    Raises:
        ValueError: The shapes do not match, or a feature is not finite.
    """
    if x.ndim != y.ndim or x.ndim not in (2, 3) or x.shape[-1] != y.shape[-1]:
        raise ValueError(f"features must be [N, D] and [M, D], got {list(x.shape)} and {list(y.shape)}")
    product = x.double() @ y.double().mT
    if not bool(torch.isfinite(product).all()):
        raise ValueError("features must be finite, got NaN or infinity")
    return (product * (1 / x.shape[-1] if gamma is None else gamma) + coef) ** degree


def kid(
    real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of the unbiased MMD^2 over random subsets.

    The deviation tells how much the choice of subsets matters, not how much the figure would change with other real
    images. It is 0 if both sets are used whole.

    Args:
        real: Features of real images, [N, D].
        fake: Features of generated images, [M, D].
        subsets: Number of pairs of subsets.
        subset_size: Rows of a subset, drawn without replacement; None means min(N, M, 1000).
        seed: Seed of the subsets.

    Raises:
        ConfigError: `subset_size` is below 2 or above N or M, or `subsets` below 1.
        DataError: There are fewer than two real or generated images.
    """
    rows_real, rows_fake = _draw_subsets(len(real), len(fake), subsets, subset_size, seed)
    return _kid_of_subsets(real, rows_real.to(real.device), fake, rows_fake.to(fake.device))


def _draw_subsets(
    real_count: int, fake_count: int, subsets: int, subset_size: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Rows of the subsets of real and of generated images, two int64 [S, m]."""
    smaller = min(real_count, fake_count)
    if smaller < 2:
        raise DataError(f"KID needs at least 2 real and 2 generated images, got {real_count} and {fake_count}")
    size = min(smaller, _LARGEST_SUBSET) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ConfigError(f"subset_size must be 2..{smaller} for {real_count} real and {fake_count} fakes, got {size}")
    if subsets < 1:
        raise ConfigError(f"subsets must be at least 1, got {subsets}")
    rng = np.random.default_rng(seed)
    drawn = [[rng.permutation(count)[:size] for count in (real_count, fake_count)] for _ in range(subsets)]
    rows_real, rows_fake = (torch.from_numpy(np.stack([pair[side] for pair in drawn])) for side in (0, 1))
    return rows_real, rows_fake


def _kid_of_subsets(real: Tensor, rows_real: Tensor, fake: Tensor, rows_fake: Tensor) -> tuple[float, float]:
    size = rows_real.shape[1]
    real, rows_real = _drawn_rows(real, rows_real)
    fake, rows_fake = _drawn_rows(fake, rows_fake)
    within = _sums_within(real, rows_real) + _sums_within(fake, rows_fake)
    across = _subset_sums(real, rows_real, fake, rows_fake)
    values = (within / (size * (size - 1)) - 2 * across / size**2).cpu().numpy()
    return float(np.mean(values)), float(np.std(values))


def _drawn_rows(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of x that any subset draws, in float64, and the subsets as indices of these rows."""
    used, place = torch.unique(rows, return_inverse=True)
    return x[used].double(), place


def mmd2_with_error(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Unbiased MMD^2 of whole sets and its standard error over images, by the two-sample jackknife.

    `kid` gives the figure as published, but its deviation concerns subsets and is 0 if a set is used whole. The
    standard error says how much the figure would vary with other images; over 5 images it is only a rough estimate.

    Args:
        x: [N, D], N at least 3.
        y: [M, D], M at least 3.

    Returns:
        The unbiased estimate and its standard error.

    Raises:
        DataError: A set has fewer than three rows.
    """
    if min(len(x), len(y)) < 3:
        raise DataError(f"the error of MMD^2 needs at least 3 images on each side, got {len(x)} and {len(y)}")
    n, m = len(x), len(y)
    within_x, within_y = _sums_with_others(x), _sums_with_others(y)
    across_x, across_y = _kernel_sums(x, y), _kernel_sums(y, x)
    total_x, total_y, across = within_x.sum(), within_y.sum(), across_x.sum()
    mean_x, mean_y, mean_xy = total_x / (n * (n - 1)), total_y / (m * (m - 1)), across / (n * m)
    without_x = (total_x - 2 * within_x) / ((n - 1) * (n - 2)) + mean_y - 2 * (across - across_x) / ((n - 1) * m)
    without_y = (total_y - 2 * within_y) / ((m - 1) * (m - 2)) + mean_x - 2 * (across - across_y) / (n * (m - 1))
    variance = sum((len(values) - 1) * values.var(correction=0) for values in (without_x, without_y))
    return float(mean_x + mean_y - 2 * mean_xy), float(variance) ** 0.5


def snapshot_score(fake_features: Tensor, validation_features: Tensor) -> float:
    """The part of MMD^2 that depends on the generator: E k(fake, fake') - 2 E k(fake, real). Lower is better.

    The missing term E k(real, real') is the same for all snapshots of a training, and has no unbiased estimate if there
    is a single validation image. Scores are comparable for the same validation images, extractor and standardisation.

    Args:
        fake_features: [N, D], N at least 2.
        validation_features: [M, D], M at least 1.

    Raises:
        DataError: There are too few images.
    """
    if not len(validation_features):
        raise DataError("choosing a snapshot needs at least 1 validation image, got 0; raise validation_fraction")
    count = len(fake_features)
    if count < 2:
        raise DataError(f"choosing a snapshot needs at least 2 generated images, got {count}")
    kernel = polynomial_kernel(fake_features, fake_features)
    between = float((kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1)))
    return between - 2 * float(polynomial_kernel(fake_features, validation_features).mean())


def feature_statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature over training images, [N, D] -> two float64 [D].

    The deviation is clamped to at least a tenth of its median. A feature that happens to be almost constant over ten
    images would otherwise outweigh all others in a cubic kernel (not in the paper; chosen for few-shot sets).

    Raises:
        DataError: There are fewer than two images, or all have the same features.
    """
    if len(features) < 2:
        raise DataError(f"standardising features needs at least 2 training images, got {len(features)}")
    values = features.double()
    std = values.std(dim=0)
    floor = 0.1 * std.median()
    if not float(floor) > 0:
        raise DataError(f"the {len(features)} training images give the same features; are they copies of one image?")
    return values.mean(dim=0), std.clamp_min(floor)


def standardise(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(features - mean) / std in float64 [N, D], with mean and std [D] of training images from `feature_statistics`."""
    return (features.double() - mean) / std


def _subset_sums(x: Tensor, rows_x: Tensor, y: Tensor, rows_y: Tensor) -> Tensor:
    """Sum over i, j of k(x_i, y_j) for each pair of subsets, [S]; `rows_x`, `rows_y` are [S, m].

    Subsets overlap. Where they cover the sets many times over, every kernel value is computed once and the sums are
    u K v with 0-1 vectors u and v, in one product for all subsets. Where they are small, each has its own small kernel.
    """
    subsets, size = rows_x.shape
    if size == len(x):  # the whole set each time
        return _kernel_sums(y, x)[rows_y].sum(dim=1)
    if subsets * size**2 <= len(x) * len(y):
        many = max(1, _NUMBERS // (size * x.shape[1]))
        pairs = zip(torch.split(rows_x, many), torch.split(rows_y, many), strict=True)
        return torch.cat([polynomial_kernel(x[i], y[j]).sum(dim=(1, 2)) for i, j in pairs])
    chosen_x, chosen_y = (
        torch.zeros(subsets, len(z), dtype=torch.float64, device=z.device).scatter_(1, rows, 1)
        for z, rows in ((x, rows_x), (y, rows_y))
    )
    sums = chosen_x.new_zeros(subsets)
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        sums += ((chosen_x[:, part] @ polynomial_kernel(x[part], y)) * chosen_y).sum(dim=1)
    return sums


def _sums_within(x: Tensor, rows: Tensor) -> Tensor:
    """Sum over i != j of k(x_i, x_j) in each subset, [S]."""
    if rows.shape[1] == len(x):  # each subset is the whole set, as usual with few real images
        return _sums_with_others(x).sum().expand(len(rows))
    subsets, size = rows.shape
    if subsets * size**2 > len(x) ** 2:
        return _subset_sums(x, rows, x, rows) - _diagonal(x)[rows].sum(dim=1)
    parts = []
    for some in torch.split(rows, max(1, _NUMBERS // (size * x.shape[1]))):
        subset = x[some]  # [S, m, D]
        kernel = polynomial_kernel(subset, subset)
        parts.append(kernel.sum(dim=(1, 2)) - kernel.diagonal(dim1=1, dim2=2).sum(dim=1))
    return torch.cat(parts)


def _kernel_sums(x: Tensor, y: Tensor) -> Tensor:
    """Sum over j of k(x_i, y_j), [N]."""
    return torch.cat([polynomial_kernel(x[i : i + _ROWS], y).sum(dim=1) for i in range(0, len(x), _ROWS)])


def _sums_with_others(x: Tensor) -> Tensor:
    """Sum over j != i of k(x_i, x_j), [N]."""
    return _kernel_sums(x, x) - _diagonal(x)


def _diagonal(x: Tensor) -> Tensor:
    """k(x_i, x_i), [N]."""
    values: Tensor = (x.double().square().sum(dim=1) / x.shape[1] + 1) ** 3
    return values
