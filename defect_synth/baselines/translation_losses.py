"""The terms of the translation baselines, each a pure function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def judged_real(scores: Tensor) -> Tensor:
    """Least-squares adversarial term (Mao et al. 2017): mean (score - 1)^2; 0 where all scores are 1."""
    return (scores - 1).square().mean()


def judged_fake(scores: Tensor) -> Tensor:
    """Mean score^2; 0 where all scores are 0."""
    return scores.square().mean()


def absolute(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b|: cycle, identity and reconstruction terms, and the agreement of two maps."""
    return (a - b).abs().mean()


def wasserstein(fake: Tensor, real: Tensor) -> Tensor:
    """What a critic minimises: mean score of generated images less that of real ones."""
    return fake.mean() - real.mean()


def between(real: Tensor, fake: Tensor, uniform: Tensor) -> Tensor:
    """Points between pairs of images: real u + fake (1 - u), u [N] in [0, 1)."""
    u = uniform.to(real.device).reshape(-1, 1, 1, 1)
    return real * u + fake * (1 - u)


def unit_gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Gradient penalty (Gulrajani et al. 2017): mean (|gradient of a sample's mean score| - 1)^2.

    `images` must require gradients; the result is differentiable.
    """
    total = scores.flatten(1).mean(dim=1).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    lengths: Tensor = gradient.flatten(1).square().sum(dim=1).sqrt()
    return (lengths - 1).square().mean()


def named(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of category logits [N, C] with labels [N]."""
    return F.cross_entropy(logits, labels)
