"""The terms of the objective as pure functions (Eq. 2 and 3; Karras et al. 2020a, 2020b)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def generator_loss(fake_logits: Tensor) -> Tensor:
    """Non-saturating generator loss: softplus(-D(fake)), mean over [N, 1]."""
    return F.softplus(-fake_logits).mean()


def discriminator_loss(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """softplus(D(fake)) + softplus(-D(real)), means over [N, 1] each.

    The paper calls the loss of D_match a Wasserstein loss; the authors' program uses this one for both discriminators,
    and so does this package.
    """
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def gradient_penalty(logits: Tensor, inputs: Tensor) -> Tensor:
    """R1: squared gradient norm of the logits with respect to real inputs [N, C, H, W], mean over the batch.

    `inputs` must require gradients; the result is differentiable. The caller multiplies by gamma / 2.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return gradient.float().square().sum(dim=(1, 2, 3)).mean()


def path_lengths(image: Tensor, w: Tensor, noise: Tensor) -> Tensor:
    """|J^T y| per sample, y = noise / sqrt(H * W) (Karras et al. 2020b, Sec. 3.2).

    Args:
        image: [N, C, H, W]; it depends on `w`.
        w: [N, num_ws, w_dim]. In stage 2 this is w_object alone, as in the authors' program.
        noise: Standard normal numbers of the shape of `image`.

    Returns:
        [N]: the root of the mean over rows of the squared gradient summed over w_dim.
    """
    y = noise / math.sqrt(image.shape[2] * image.shape[3])
    (gradient,) = torch.autograd.grad((image * y).sum(), w, create_graph=True)
    return gradient.square().sum(dim=2).mean(dim=1).sqrt()


def mode_seeking_loss(
    w_defect_1: Tensor, w_defect_2: Tensor, mask_1: Tensor, mask_2: Tensor, epsilon: float = 0.0
) -> Tensor:
    """Distance of two defect codes over the distance of the masks they give on the same object (Eq. 2).

    Both distances are means, as in the authors' program, to whose scale the paper's lambda = 0.1 belongs. Eq. 2 as
    printed has sums, whose ratio is smaller by (mask pixels) / (numbers in w_defect).

    Args:
        w_defect_1: [N, num_defect_ws, w_dim].
        w_defect_2: [N, num_defect_ws, w_dim].
        mask_1: Soft masks in [-1, 1], [N, 1, H, W].
        mask_2: Soft masks of the same objects, [N, 1, H, W].
        epsilon: Added to the denominator; with 0, two masks that are saturated alike divide by zero.
    """
    numerator = (w_defect_1 - w_defect_2).abs().mean()
    # In the dtype of the masks: the authors' float16 masks are subtracted and averaged in float16, too.
    denominator = (mask_1 - mask_2).abs().mean().float()
    return numerator / (denominator + epsilon)


def soft_mask(mask_logits: Tensor, gain: float, leak: float = 0.0) -> Tensor:
    """Soft mask in [-1, 1] for D_match and Eq. 2: tanh(gain * logits), in the dtype of the logits.

    With `leak` (not in the paper) the values are the same, but a saturated pixel keeps at least this share of the
    steepest gradient wherever that moves it back towards the threshold. Without it, no discriminator can move the
    pixel: stray dots stay, and absent defects stay absent. With it, the result is differentiable only once.
    """
    if leak == 0:
        return torch.tanh(mask_logits * gain)
    mask: Tensor = _LeakyTanh.apply(mask_logits, gain, leak)  # type: ignore[no-untyped-call]
    return mask


class _LeakyTanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, gain: float, leak: float) -> Tensor:
        y = torch.tanh(logits * gain)
        ctx.save_for_backward(y)
        ctx.settings = gain, leak
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        (y,) = ctx.saved_tensors
        gain, leak = ctx.settings
        slope = 1 - y.square()
        inward = grad * y > 0  # a step down this gradient brings the logit nearer to 0
        return grad * gain * torch.where(inward, slope.clamp_min(leak), slope), None, None
