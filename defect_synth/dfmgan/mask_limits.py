"""What a generator's mask can be: where, and how fine. Taken from the base masks before stage 2."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from defect_synth.nn.upfirdn import upsample2d
from defect_synth.samples import Pixels

_AROUND = 0.125


def box_of(masks: Pixels) -> tuple[float, float, float, float]:
    """Box of all base masks, uint8 [N, R, R], with `_AROUND` of the side around: top, bottom, left, right, 0..1."""
    side = masks.shape[1]
    found = [np.flatnonzero(masks.max(axis=axes)) for axes in ((0, 2), (0, 1))]
    if not len(found[0]):  # too thin to be seen at this size
        return 0.0, 1.0, 0.0, 1.0
    low = [max(0.0, float(places[0]) / side - _AROUND) for places in found]
    high = [min(1.0, float(places[-1] + 1) / side + _AROUND) for places in found]
    return low[0], high[0], low[1], high[1]


def as_drawn(masks: Pixels, side: int) -> Pixels:
    """Masks as a generator would draw them whose mask has `side` cells: D_match shall not know it by its grain.

    The generator's mask is made at the resolution of the first residual block and enlarged from there. A crack of one
    pixel is finer than that: shown as they are, real masks are told from generated ones by their grain alone, and
    nothing is learnt about shapes. A cell is part of the defect where any of its pixels is.

    Args:
        masks: uint8 [N, R, R] in {0, 1}.
        side: Of the generator's mask; R is `side` times a power of two.

    Returns:
        uint8 [N, R, R] in {0, 1}; at least what `masks` have.
    """
    cells = masks.shape[1] // side
    if cells <= 1:
        return masks
    logits = F.max_pool2d(torch.from_numpy(masks).float()[:, None], cells) * 2 - 1
    while logits.shape[-1] < masks.shape[1]:
        logits = upsample2d(logits)
    drawn = (logits[:, 0] >= 0).numpy().astype(np.uint8)
    return np.maximum(drawn, masks)
