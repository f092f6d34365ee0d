"""The terms of CDC (Ojha et al. 2021) that a GAN does not have: distances between samples stay what they were."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarities(features: Tensor) -> Tensor:
    """Log-probabilities that each sample is like each other one: [N, ...] -> [N, N - 1], rows sum to 1 after exp.

    The softmax over the cosine similarities to all other samples of the batch, in their order.
    """
    flat = F.normalize(features.float().flatten(1), dim=1)
    n = len(flat)
    others = ~torch.eye(n, dtype=torch.bool, device=flat.device)
    return torch.log_softmax((flat @ flat.T)[others].reshape(n, n - 1), dim=1)


def distance_consistency(source: Tensor, target: Tensor) -> Tensor:
    """KL(target || source) of the two networks' similarities on the same codes, mean over samples.

    Args:
        source: Features [N, ...] of the frozen network; N >= 3, or there is only one other sample and nothing to learn.
        target: Features of the network in training.
    """
    p, q = similarities(source), similarities(target)
    return (q.exp() * (q - p)).sum(dim=1).mean()
