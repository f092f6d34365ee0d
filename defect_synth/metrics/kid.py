"""Kernel inception distance (Binkowski et al. 2018): squared maximum mean discrepancy of feature vectors.

All arithmetic is in float64 on the features' device. "Inception" stands for whatever network made the features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from defect_synth.errors import ConfigError, DataError

_LARGEST_SUBSET = 1000


def polynomial_kernel(x: Tensor, y: Tensor, degree: int = 3, gamma: float | None = None, coef: float = 1) -> Tensor:
    """(gamma <x_i, y_j> + coef) ** degree; x [N, D] and y [M, D] -> float64 [N, M]; `gamma` None means 1/D.

    Raises:
        ValueError: The shapes do not fit, or a feature is not finite.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"features must be [N, D] and [M, D], got {list(x.shape)} and {list(y.shape)}")
    product = x.double() @ y.double().T
    if not bool(torch.isfinite(product).all()):
        raise ValueError("features must be finite, got NaN or infinity")
    return (product * (1 / x.shape[1] if gamma is None else gamma) + coef) ** degree


def mmd2_unbiased(x: Tensor, y: Tensor) -> float:
    """Unbiased estimate of MMD^2 between the distributions of x [N, D] and y [M, D]; may be slightly negative.

    Raises:
        DataError: Fewer than two rows on a side.
    """
    return _between_different(x, "first") + _between_different(y, "second") - 2 * float(polynomial_kernel(x, y).mean())


def kid(
    real: Tensor, fake: Tensor, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation of MMD^2 over random subsets.

    The deviation tells how much the choice of subsets matters, not how much the number would change with other real
    images; it is 0 where both sets are used whole.

    Args:
        real: Features of real images, [N, D].
        fake: Features of generated images, [M, D].
        subsets: How many pairs of subsets to draw.
        subset_size: Rows per subset, drawn without replacement; None: min(N, M, 1000).
        seed: Draws the subsets.

    Raises:
        ConfigError: `subset_size` is below 2 or above N or M, or `subsets` below 1.
        DataError: Fewer than two images on a side.
    """
    smaller = min(len(real), len(fake))
    if smaller < 2:
        raise DataError(f"KID needs at least 2 real and 2 generated images, got {len(real)} and {len(fake)}")
    size = min(smaller, _LARGEST_SUBSET) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ConfigError(f"subset_size must be 2..{smaller} for {len(real)} real and {len(fake)} fakes, got {size}")
    if subsets < 1:
        raise ConfigError(f"subsets must be at least 1, got {subsets}")
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        rows = [torch.from_numpy(rng.permutation(len(x))[:size]).to(x.device) for x in (real, fake)]
        values.append(mmd2_unbiased(real[rows[0]], fake[rows[1]]))
    return float(np.mean(values)), float(np.std(values))


def snapshot_score(fake_features: Tensor, validation_features: Tensor) -> float:
    """The part of MMD^2 that depends on the generator: E k(fake, fake') - 2 E k(fake, real). Lower is better.

    The missing term E k(real, real') is the same for all snapshots of one training, and has no unbiased estimate when
    one validation image is all there is. Compare only with equal validation images, extractor and standardisation.

    Args:
        fake_features: [N, D], N at least 2.
        validation_features: [M, D], M at least 1.

    Raises:
        DataError: Too few images.
    """
    if not len(validation_features):
        raise DataError("choosing a snapshot needs at least 1 validation image, got 0; raise validation_fraction")
    cross = float(polynomial_kernel(fake_features, validation_features).mean())
    return _between_different(fake_features, "generated") - 2 * cross


def feature_statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each feature over training images, [N, D] -> two float64 [D].

    The deviation is kept above a tenth of its median: a feature that happens to be almost constant over ten images
    would otherwise outweigh all others in a cubic kernel (not in the paper; chosen for few-shot sets).

    Raises:
        DataError: Fewer than two images, or all alike.
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
    """(features - mean) / std in float64, [N, D]; `mean` and `std` [D] come from `feature_statistics` of training."""
    return (features.double() - mean) / std


def _between_different(x: Tensor, which: str) -> float:
    """Mean kernel of two different rows of x."""
    count = len(x)
    if count < 2:
        raise DataError(f"MMD^2 needs at least 2 images in the {which} set, got {count}")
    kernel = polynomial_kernel(x, x)
    return float((kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1)))
