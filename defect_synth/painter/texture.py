"""Distance between the textures of two images inside a mask, by sliced optimal transport (Bonneel et al. 2015).

Colours, differences between neighbours at two scales, and the distance to the border of the mask form a vector at each
pixel of the mask. The distributions of these vectors are compared by projecting them on random directions, sorting the
projections and comparing them value by value. So a free painting learns the colours, contrast, grain and rim of a real
defect, wherever its own structure puts them. Not in the paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_FEATURES = 16
_RIM = 9  # pixels, width of the filter that tells how near the border of the mask is


def texture_features(image: Tensor, mask: Tensor) -> Tensor:
    """The vector at each pixel, [N, 16, H, W], of signal [N, 3, H, W] and mask [N, 1, H, W]."""
    right = image - image.roll(1, 3)
    down = image - image.roll(1, 2)
    near = F.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    far = F.avg_pool2d(near, 7, stride=1, padding=3, count_include_pad=False)
    rim = F.avg_pool2d(mask, _RIM, stride=1, padding=_RIM // 2)
    return torch.cat([image, 2 * right, 2 * down, 3 * (image - near), 2 * (near - far), rim], dim=1)


def texture_distance(painted: Tensor, wanted: Tensor, mask: Tensor, places: Tensor, directions: Tensor) -> Tensor:
    """Sliced transport distance between the textures of images inside masks, [N]; 0 for an empty mask.

    Args:
        painted: Signal, [N, 3, H, W].
        wanted: Likewise.
        mask: 0 or 1, [N, 1, H, W].
        places: Uniform in [0, 1): which pixels of each mask are compared, [N, n].
        directions: Random directions of any length, [K, 16].
    """
    count, size = len(mask), mask.shape[2] * mask.shape[3]
    flat = mask.reshape(count, size) > 0
    # Pixel number k of a mask is the first position whose running count is above k.
    running = flat.cumsum(dim=1)
    total = running[:, -1:]
    index = torch.searchsorted(running, (places * total).long() + 1).clamp_(max=size - 1)
    unit = directions / directions.norm(dim=1, keepdim=True)

    def sorted_projections(image: Tensor) -> Tensor:
        features = texture_features(image, mask).reshape(count, NUM_FEATURES, size)
        chosen = features.gather(2, index[:, None].expand(-1, NUM_FEATURES, -1))
        return torch.einsum("kf,nfp->nkp", unit, chosen).sort(dim=2).values

    with torch.no_grad():
        target = sorted_projections(wanted)
    distance = (sorted_projections(painted) - target).abs().mean(dim=(1, 2))
    return distance * (total[:, 0] > 0)
