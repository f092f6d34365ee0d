"""Leaves specks out of a mask: connected parts that are small beside the largest. Not in the paper."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def without_specks(logits: Tensor, threshold: float, share: float, never: Tensor | None = None) -> Tensor:
    """Turn small connected parts of masks off, and those that reach where no defect can be.

    Training with a handful of images leaves stray cells in masks long before the defect itself looks right, and each is
    painted. Neighbours are all eight around.

    Args:
        logits: Mask logits [N, 1, H, W]; on the defect from `threshold` on.
        threshold: As said.
        share: Parts smaller than this share of the sample's largest part go; 0: all stay.
        never: bool [H, W]; parts with one of these cells go first.

    Returns:
        [N, 1, H, W]; cells of such parts are mirrored to the other side of the threshold, all others are as they were.
    """
    mask = logits >= threshold
    if share <= 0 or not mask.any():
        return logits
    count, cells = len(logits), logits[0].numel()
    names = torch.arange(1, cells + 1, device=logits.device, dtype=torch.float64).view_as(logits[0])
    label = names * mask
    while True:  # every part takes its largest name; as many rounds as the longest way through a part
        grown = F.max_pool2d(label, 3, stride=1, padding=1) * mask
        if torch.equal(grown, label):
            break
        label = grown
    flat = label.long().flatten(1)
    sizes = torch.zeros(count, cells + 1, dtype=torch.long, device=logits.device)
    sizes.scatter_add_(1, flat, torch.ones_like(flat))
    sizes[:, 0] = 0  # no defect
    if never is not None:
        forbidden = torch.where(never.flatten(), flat, 0)
        sizes.scatter_(1, forbidden, 0)
    least = (share * sizes.amax(1)).clamp_min(1)[:, None, None, None]
    small = sizes.gather(1, flat).view_as(mask) < least
    below = torch.nextafter(logits.new_tensor(threshold), logits.new_tensor(-torch.inf))
    return torch.where(mask & small, torch.minimum(2 * threshold - logits, below), logits)
