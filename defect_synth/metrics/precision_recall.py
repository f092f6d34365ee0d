"""Improved precision and recall (Kynkaanniemi et al. 2019).

The manifold of a set is the union of balls around its feature vectors, each of which reaches to the k-th nearest other
vector. Precision asks whether generated images are realistic, recall whether they cover the real ones.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from defect_synth.errors import DataError
from defect_synth.metrics.neighbours import share_in_balls, to_kth_neighbour


class PrecisionRecall(NamedTuple):
    """Precision and recall, both in 0..1.

    Attributes:
        precision: Share of generated images on the manifold of the real ones.
        recall: Share of real images on the manifold of the generated ones.
        k: Which nearest neighbour sets the radius.
    """

    precision: float
    recall: float
    k: int


def precision_recall(real: Tensor, generated: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision and recall of feature vectors [N, D] and [M, D].

    With the 5 to 20 real images of a few-shot defect the balls are large and recall changes in steps of 1/N. Compare
    sources on the same real images and with equal numbers of generated images, not with figures of large sets.

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
