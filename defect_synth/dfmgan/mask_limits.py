"""Where masks can lie and how fine they can be, from the base masks of a defect. Not in the paper."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from defect_synth.nn.upfirdn import upsample2d
from defect_synth.samples import Pixels

_MARGIN = 0.125  # of the side


def box_of(masks: Pixels) -> tuple[float, float, float, float]:
    """Box around all base masks, widened by a margin.

    Args:
        masks: uint8 [N, R, R] in {0, 1}.

    Returns:
        Top, bottom, left and right as shares of the side; the whole image where all masks are empty.
    """
    side = masks.shape[1]
    found = [np.flatnonzero(masks.max(axis=axes)) for axes in ((0, 2), (0, 1))]
    if not len(found[0]):  # the defect is too thin to be seen at this resolution
        return 0.0, 1.0, 0.0, 1.0
    low = [max(0.0, float(places[0]) / side - _MARGIN) for places in found]
    high = [min(1.0, float(places[-1] + 1) / side + _MARGIN) for places in found]
    return low[0], high[0], low[1], high[1]


def coarsen(masks: Pixels, side: int) -> Pixels:
    """Masks as coarse as those of a generator.

    The generator's mask is made at the resolution of the first residual block and upsampled. A crack of one pixel is
    finer than that. If D_match saw real masks as they are, it would tell them from generated ones by their coarseness
    alone, and nothing would be learnt about shapes.

    Args:
        masks: uint8 [N, R, R] in {0, 1}.
        side: Resolution of the first residual block; R is `side` times a power of two.

    Returns:
        uint8 [N, R, R] in {0, 1}; every pixel that is set in `masks` is set here, too.
    """
    cells = masks.shape[1] // side
    if cells <= 1:
        return masks
    logits = F.max_pool2d(torch.from_numpy(masks).float()[:, None], cells) * 2 - 1
    while logits.shape[-1] < masks.shape[1]:
        logits = upsample2d(logits)
    coarse = (logits[:, 0] >= 0).numpy().astype(np.uint8)
    return np.maximum(coarse, masks)
