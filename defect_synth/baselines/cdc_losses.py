"""The distance consistency loss of CDC (Ojha et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarities(features: Tensor) -> Tensor:
    """Log-softmax over the cosine similarities of each sample to all others of the batch.

    Args:
        features: [N, ...].

    Returns:
        [N, N - 1]; row i holds the other samples in their order.
    """
    flat = F.normalize(features.float().flatten(1), dim=1)
    n = len(flat)
    others = ~torch.eye(n, dtype=torch.bool, device=flat.device)
    return torch.log_softmax((flat @ flat.T)[others].reshape(n, n - 1), dim=1)


def distance_consistency(source: Tensor, target: Tensor) -> Tensor:
    """KL(target || source) of the similarities in two networks for the same codes, averaged over samples.

    Args:
        source: Features of the frozen network, [N, ...]. It is zero for N < 3, where there is only one other sample.
        target: Features of the network in training, [N, ...].

    Returns:
        A scalar.
    """
    p, q = similarities(source), similarities(target)
    return (q.exp() * (q - p)).sum(dim=1).mean()
