"""Improved precision and recall (Kynkaanniemi et al. 2019): realistic images, real ones covered?

A set's manifold is the union of balls around its feature vectors, each reaching to the k-th nearest other one.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from defect_synth.errors import DataError
from defect_synth.metrics.neighbours import share_in_balls, to_kth_neighbour


class PrecisionRecall(NamedTuple):
    """Both are in 0..1.

    Attributes:
        precision: Share of generated images on the manifold of the real ones.
        recall: Share of real images on the manifold of the generated ones.
        k: Neighbour that sets the radius.
    """

    precision: float
    recall: float
    k: int


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall of feature vectors [N, D] and [M, D].

    With the 5 to 20 real images of a few-shot defect the balls are large and recall moves in steps of 1/N: compare
    sources on the same real images, not with figures of large sets. Recall also grows with the number of generated
    images only through smaller balls, so compare equal numbers.

    Raises:
        DataError: A set has k images or fewer.
    """
    if min(len(real), len(generated)) <= k:
        raise DataError(
            f"precision and recall with k = {k} need at least {k + 1} real and generated images, got {len(real)} and "
            f"{len(generated)}"
        )
    return PrecisionRecall(
        precision=share_in_balls(generated, real, to_kth_neighbour(real, k)),
        recall=share_in_balls(real, generated, to_kth_neighbour(generated, k)),
        k=k,
    )
