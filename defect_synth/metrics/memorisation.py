"""Does a generator copy its training images? Distances to them, compared with those of unseen real images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from defect_synth.errors import DataError
from defect_synth.metrics.neighbours import to_nearest

_RESAMPLES = 2000


@dataclass(frozen=True)
class Memorisation:
    """Distances to the nearest training image.

    Attributes:
        generated: Median over generated images.
        held_out: Median over real images that were not used in training.
        ratio: `generated` over `held_out`: about 1 for new images of the same kind, near 0 for copies, above 1 for
            images that are farther from the training images than real ones are.
        low: Lower end of the 95 % bootstrap interval of `ratio`.
        high: Upper end of the interval. Below 1, generated images are significantly closer than unseen real ones.
        closer: Share of generated images that are closer to a training image than any held-out image is.
        nearest: Index of the nearest training image of each generated image.
        distances: Distance of each generated image to its nearest training image.
    """

    generated: float
    held_out: float
    ratio: float
    low: float
    high: float
    closer: float
    nearest: tuple[int, ...]
    distances: tuple[float, ...]


def memorisation(train: Tensor, held_out: Tensor, generated: Tensor, seed: int = 0) -> Memorisation:
    """Compare the distances of generated and of held-out images to their nearest training images.

    The interval resamples held-out and generated images. The training images stay, since the question is about them.

    Args:
        train: Features of the images that the generator was trained on, [T, D].
        held_out: Features of other real images of the same defect category, [H, D].
        generated: Features of generated images, [G, D].
        seed: Seed of the bootstrap samples.

    Raises:
        DataError: A set is empty, or the held-out images are copies of training images.
    """
    for name, features in (("training", train), ("held-out", held_out), ("generated", generated)):
        if not len(features):
            raise DataError(f"memorisation needs at least 1 {name} image, got 0")
    real = to_nearest(held_out, train)[0].cpu().numpy()
    distances, nearest = to_nearest(generated, train)
    fake = distances.cpu().numpy()
    # Distances are computed from products, so those of equal vectors are 0 only up to rounding.
    if float(np.median(real)) <= 1e-7 * float(train.double().square().sum(dim=1).max().sqrt()):
        raise DataError("the held-out images equal training images; memorisation needs other real images")
    rng = np.random.default_rng(seed)
    middles = [
        np.median(values[rng.integers(0, len(values), (_RESAMPLES, len(values)))], axis=1) for values in (fake, real)
    ]
    low, high = np.quantile(middles[0] / np.maximum(middles[1], np.finfo(np.float64).tiny), (0.025, 0.975))
    return Memorisation(
        generated=float(np.median(fake)),
        held_out=float(np.median(real)),
        ratio=float(np.median(fake) / np.median(real)),
        low=float(low),
        high=float(high),
        closer=float((fake < real.min()).mean()),
        nearest=tuple(nearest.tolist()),
        distances=tuple(fake.tolist()),
    )
