"""D with small heads on its intermediate features: whole images near the anchors, patches everywhere else (CDC)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from defect_synth.dfmgan.discriminators import Discriminator, DiscriminatorBlock
from defect_synth.nn.layers import EqualConv

HEADS = (4, 8)  # patches are judged on features of this fraction of the side


class TwoScaleJudge(nn.Module):
    """Image-level and patch-level logits of one discriminator."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator
        heads = {}
        for side, block in discriminator.blocks.items():
            below = int(side) // 2
            if discriminator.resolution // below in HEADS:
                assert isinstance(block, DiscriminatorBlock)
                channels = int(block.down.weight.shape[0])
                heads[str(below)] = nn.Sequential(
                    EqualConv(channels, channels, 3), EqualConv(channels, 1, 1, activate=False)
                )
        self.heads = nn.ModuleDict(heads)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the feature maps that have a head, from large to small."""
        return tuple(int(side) for side in self.heads)

    def forward(self, image: Tensor) -> Tensor:
        """Image-level logits [N, 1]."""
        out: Tensor = self.discriminator(image)
        return out

    def patches(self, image: Tensor, side: int) -> Tensor:
        """Patch-level logits [N, 1, side, side]; what lies above that feature map is not computed."""
        network = self.discriminator
        x = network.from_rgb(image.contiguous(memory_format=torch.channels_last))
        for above, block in network.blocks.items():
            x = block(x)
            if int(above) == 2 * side:
                break
        out: Tensor = self.heads[str(side)](x.float())
        return out
