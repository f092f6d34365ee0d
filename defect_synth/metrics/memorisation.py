"""Copies or new defects? How close generated images come to the training images, against how close unseen reals do."""

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
        held_out: Median over real images that were not trained on.
        ratio: The former over the latter: about 1 for new images of the same kind, near 0 for copies, above 1 for
            images farther from the training set than real ones are.
        low: Lower end of the 95 % bootstrap interval of the ratio.
        high: Upper end of it.
        closer: Share of generated images closer to a training image than every held-out image is.
        nearest: Index of the training image nearest to each generated one.
        distances: Distance to it.
    """

    generated: float
    held_out: float
    ratio: float
    low: float
    high: float
    closer: float
    nearest: tuple[int, ...]
    distances: tuple[float, ...]

    @property
    def copies(self) -> bool:
        """Whether the generated images are surely closer to the training images than unseen real ones are."""
        return self.high < 1


def memorisation(train: Tensor, held_out: Tensor, generated: Tensor, seed: int = 0) -> Memorisation:
    """Nearest-neighbour memorisation of feature vectors [T, D], [H, D], [G, D].

    The interval resamples held-out and generated images; the training images stay, since the question is about them.

    Args:
        train: Features of the images that the generator was trained on.
        held_out: Features of other real images of the same defect.
        generated: Features of generated images.
        seed: Of the resampling.

    Raises:
        DataError: An empty set, or held-out images that are copies of training images.
    """
    for name, features in (("training", train), ("held-out", held_out), ("generated", generated)):
        if not len(features):
            raise DataError(f"memorisation needs at least 1 {name} image, got 0")
    real = to_nearest(held_out, train)[0].cpu().numpy()
    distances, nearest = to_nearest(generated, train)
    fake = distances.cpu().numpy()
    # Distances come from products: those of equal vectors are 0 only up to rounding.
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
