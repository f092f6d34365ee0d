"""The discriminator of CDC (Ojha et al. 2021): logits of whole images, and logits of patches from earlier features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defect_synth.dfmgan.discriminators import Discriminator, DiscriminatorBlock
from defect_synth.nn.layers import EqualConv

_REDUCTIONS = (4, 8)  # a head is on the feature maps whose sides are the image's divided by these


class CDCDiscriminator(nn.Module):
    """The discriminator of stage 1 with a patch head on each of two intermediate feature maps."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator
        heads = {}
        for side, block in discriminator.blocks.items():
            below = int(side) // 2
            if discriminator.resolution // below in _REDUCTIONS:
                assert isinstance(block, DiscriminatorBlock)
                channels = int(block.down.weight.shape[0])
                heads[str(below)] = nn.Sequential(
                    EqualConv(channels, channels, 3), EqualConv(channels, 1, 1, activate=False)
                )
        self.heads = nn.ModuleDict(heads)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the feature maps that have a head, descending."""
        return tuple(int(side) for side in self.heads)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [N, 1] of whole images [N, 3, R, R]."""
        out: Tensor = self.discriminator(image)
        return out

    def patches(self, image: Tensor, side: int) -> Tensor:
        """Logits [N, 1, side, side] of the patches of images [N, 3, R, R]; later blocks are not computed."""
        network = self.discriminator
        x = network.from_rgb(image.contiguous(memory_format=torch.channels_last))
        for above, block in network.blocks.items():
            x = block(x)
            if int(above) == 2 * side:
                break
        out: Tensor = self.heads[str(side)](x.float())
        return out
