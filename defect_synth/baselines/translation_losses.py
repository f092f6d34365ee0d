"""The losses of SDGAN and Defect-GAN, each a pure function of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def least_squares_real(scores: Tensor) -> Tensor:
    """Mean (score - 1)^2, the loss of images that should be scored as real (Mao et al. 2017)."""
    return (scores - 1).square().mean()


def least_squares_fake(scores: Tensor) -> Tensor:
    """Mean score^2, the loss of images that should be scored as generated (Mao et al. 2017)."""
    return scores.square().mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean |a - b|."""
    return (a - b).abs().mean()


def wasserstein(fake: Tensor, real: Tensor) -> Tensor:
    """The critic's loss: mean score of generated images minus that of training images (Arjovsky et al. 2017)."""
    return fake.mean() - real.mean()


def interpolate(real: Tensor, fake: Tensor, uniform: Tensor) -> Tensor:
    """Images between pairs of images [N, C, H, W]: real u + fake (1 - u), with u [N] in [0, 1)."""
    u = uniform.to(real.device).reshape(-1, 1, 1, 1)
    return real * u + fake * (1 - u)


def gradient_penalty(scores: Tensor, images: Tensor) -> Tensor:
    """Mean (|gradient of an image's mean score| - 1)^2 (Gulrajani et al. 2017).

    Args:
        scores: Scores of the images, [N, ...].
        images: [N, C, H, W], requiring gradients.

    Returns:
        A scalar that is differentiable in the weights.
    """
    total = scores.flatten(1).mean(dim=1).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    lengths: Tensor = gradient.flatten(1).square().sum(dim=1).sqrt()
    return (lengths - 1).square().mean()


def classification(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of category logits [N, C] with labels [N]."""
    return F.cross_entropy(logits, labels)
