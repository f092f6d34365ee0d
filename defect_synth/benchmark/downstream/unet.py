"""A small U-Net (Ronneberger et al. 2015) for defect masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """A U-Net that predicts a defect logit for each pixel.

    Args:
        channels: Channels of the first level, doubled at each further one.
        levels: Number of halvings.
    """

    def __init__(self, channels: int = 16, levels: int = 3) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(_pair(i, o) for i, o in zip([3, *widths[:-1]], widths, strict=True))
        self.up = nn.ModuleList(_pair(i + o, o) for i, o in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Image float [B, 3, H, W] -> logits [B, 1, H, W]; the sides must be multiples of 2^levels."""
        skipped = []
        x = image
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skipped.append(x)
        skipped.pop()
        for block in self.up:
            x = block(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skipped.pop()], 1))
        logits: Tensor = self.head(x)
        return logits


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
