"""Colours inside a mask: their statistics, and how they are varied and matched.

What both training and painting need exists twice, side by side and tested equal: for batches of tensors, and for one
NumPy image, so that an exported painter works without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from defect_synth.samples import Pixels

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]

NUM_STATISTICS = 6
"""Length of an appearance: means of the `OPPONENT` colours inside the mask, then their standard deviations."""

OPPONENT = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (2**-0.5, 0.0, -(2**-0.5)),
    (6**-0.5, -2 * 6**-0.5, 6**-0.5),
)
"""Brightness, red against blue, green against both: rows of a rotation of RGB. A grey defect varies along the first
only. In red, green and blue it would vary along all three, and a painting could vary them apart into a rainbow."""

_EPSILON = 1e-6  # added to variances, whose square root has no gradient at 0
_MOST_CONTRAST = 4.0
_LEAST_DEVIATION = 0.02
_CONTRAST, _BRIGHTNESS, _TINT = 0.1, 0.05, 0.012  # standard deviations by which donors are varied


def appearance(image: Tensor, mask: Tensor) -> Tensor:
    """Mean and standard deviation of each opponent colour inside a mask, [N, 6].

    Args:
        image: Signal, [N, 3, H, W].
        mask: 0 or 1, [N, 1, H, W].
    """
    return _moments(_opponent(image), mask)


def appearance_of_one(image: Floats, mask: Pixels) -> Floats:
    """`appearance` of one image [H, W, 3] (signal) inside a mask [H, W]: float32 [6]."""
    colours = image[mask > 0] @ np.array(OPPONENT, np.float32).T
    deviation = np.sqrt(colours.var(axis=0) + _EPSILON)
    return np.concatenate([colours.mean(axis=0), deviation]).astype(np.float32)


def recolour(image: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """Images whose contrast, brightness and tint inside the mask are varied a little.

    Args:
        image: Signal, [N, 3, H, W].
        mask: 0 or 1, [N, 1, H, W].
        noise: Standard normal, [N, 5]: contrast, brightness, and red, green and blue.
    """
    import torch

    area = mask.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    mean = (image * mask).sum(dim=(2, 3), keepdim=True) / area
    contrast = (noise[:, 0] * _CONTRAST).exp()[:, None, None, None]
    shift = (noise[:, 1:2] * _BRIGHTNESS + noise[:, 2:5] * _TINT)[:, :, None, None]
    moved = ((image - mean) * contrast + mean + shift).clamp(-1, 1)
    return torch.where(mask > 0, moved, image).contiguous(memory_format=torch.channels_last)


def recolour_one(image: Floats, mask: Pixels, noise: Floats) -> Floats:
    """`recolour` of one image [H, W, 3] (signal) inside a mask [H, W] with noise [5]."""
    inside = mask > 0
    colours = image[inside]
    mean = colours.mean(axis=0)
    out = image.copy()
    varied = (colours - mean) * np.exp(noise[0] * _CONTRAST) + mean + noise[1] * _BRIGHTNESS + noise[2:5] * _TINT
    out[inside] = varied.clip(-1, 1)
    return out


def match_appearance(image: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
    """Images whose mean and deviation inside the mask are moved to those of an appearance.

    So a free painting has a real defect's colours from the first step of training on, whatever the branch draws.

    Args:
        image: Signal, [N, 3, H, W].
        mask: 0 or 1, [N, 1, H, W].
        wanted: Appearance, [N, 6].
    """
    import torch.nn.functional as F

    image = _opponent(image)
    own = _moments(image, mask)[:, :, None, None]
    wanted = wanted[:, :, None, None]
    # Where the network draws next to nothing, whatever pattern is in that would be amplified into a fabric.
    scale = (wanted[:, 3:] / own[:, 3:].clamp_min(_LEAST_DEVIATION)).clamp_max(_MOST_CONTRAST)
    moved = (image - own[:, :3]) * scale + wanted[:, :3]
    return F.conv2d(moved, moved.new_tensor(OPPONENT).t()[:, :, None, None])


def _opponent(image: Tensor) -> Tensor:
    import torch.nn.functional as F

    return F.conv2d(image, image.new_tensor(OPPONENT)[:, :, None, None])


def _moments(image: Tensor, mask: Tensor) -> Tensor:
    import torch

    weight = mask / mask.sum(dim=(2, 3), keepdim=True).clamp_min(1.0)
    mean = (image * weight).sum(dim=(2, 3))
    variance = ((image - mean[:, :, None, None]).square() * weight).sum(dim=(2, 3))
    return torch.cat([mean, (variance + _EPSILON).sqrt()], dim=1)
