"""Removes connected components of a mask that are small beside its largest one. Not in the paper."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def remove_small_components(
    logits: Tensor, threshold: float, min_share: float, forbidden: Tensor | None = None
) -> Tensor:
    """Turn off small connected components of masks, and those that reach where no defect can be.

    Training with a handful of images leaves stray cells in masks long before the defect itself looks right, and each
    of them is painted. A cell is connected to all eight around it.

    Args:
        logits: Mask logits [N, 1, H, W]; a cell belongs to the mask where its logit is at least `threshold`.
        threshold: Border between defect and no defect.
        min_share: Components smaller than this share of the sample's largest one are removed; 0: nothing is removed.
        forbidden: bool [H, W]; components with one of these cells are removed first, whatever their size.

    Returns:
        [N, 1, H, W]; the logits of removed cells are mirrored to the other side of the threshold, all others are as
        they were.
    """
    if min_share <= 0:
        return logits
    mask = logits >= threshold
    if not mask.any():
        return logits
    count, cells = len(logits), logits[0].numel()
    numbers = torch.arange(1, cells + 1, device=logits.device, dtype=torch.float64).view_as(logits[0])
    label = numbers * mask
    while True:  # each component takes the largest of its numbers; as many rounds as its longest path has steps
        grown = F.max_pool2d(label, 3, stride=1, padding=1) * mask
        if torch.equal(grown, label):
            break
        label = grown
    flat = label.long().flatten(1)
    sizes = torch.zeros(count, cells + 1, dtype=torch.long, device=logits.device)
    sizes.scatter_add_(1, flat, torch.ones_like(flat))
    sizes[:, 0] = 0  # cells outside the mask
    if forbidden is not None:
        sizes.scatter_(1, torch.where(forbidden.flatten(), flat, 0), 0)
    smallest = (min_share * sizes.amax(1)).clamp_min(1)[:, None, None, None]
    small = sizes.gather(1, flat).view_as(mask) < smallest
    below = torch.nextafter(logits.new_tensor(threshold), logits.new_tensor(-torch.inf))
    return torch.where(mask & small, torch.minimum(2 * threshold - logits, below), logits)
