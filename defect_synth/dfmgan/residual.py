"""Defect-aware residual blocks, ToMask and the manipulation of Eq. 1 (Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from defect_synth.dfmgan.config import ModelConfig
from defect_synth.nn.layers import Projection, StyleConv


def manipulate(f_object: Tensor, f_defect: Tensor, mask_logits: Tensor, threshold: float = 0.0) -> Tensor:
    """Add defect features to object features inside the predicted mask (Eq. 1, Sec. 3.2).

    The mask is hard, so no gradient reaches it from here: it learns from D_match and Eq. 2 alone.

    Args:
        f_object: Features of the backbone block, [N, C, H, W].
        f_defect: Features of the residual block, [N, C, H, W].
        mask_logits: Defect where >= threshold, [N, 1, H, W].
        threshold: The paper's is 0.

    Returns:
        Manipulated features, [N, C, H, W]; equal to `f_object` outside the mask.
    """
    mask = (mask_logits >= threshold).to(f_object.dtype)
    return torch.addcmul(f_object, f_defect, mask)


class ResidualBlock(nn.Module):
    """The residual block of Sec. 3.2: two convolutions as in a synthesis block, modulated by w_defect, no ToRGB."""

    def __init__(self, config: ModelConfig, resolution: int) -> None:
        super().__init__()
        backbone = config.backbone
        out = backbone.channels(resolution)
        self.up = StyleConv(
            backbone.channels(resolution // 2), out,
            w_dim=backbone.w_dim, resolution=resolution, up=True, clamp=backbone.conv_clamp,
        )  # fmt: skip
        self.conv = StyleConv(
            out, out, w_dim=backbone.w_dim, resolution=resolution, up=False, clamp=backbone.conv_clamp
        )
        self.compute_dtype = torch.float32

    def forward(self, x: Tensor, ws: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Tensor:
        """[N, C, r/2, r/2] -> F_defect [N, C, r, r]."""
        out: Tensor = self.conv(self.up(x.to(self.compute_dtype), ws[0], noise[0]), ws[1], noise[1])
        return out


class ResidualBranch(nn.Module):
    """All residual blocks, and ToMask, which reads the features of the first one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.resolutions = config.residual_resolutions
        self.blocks = nn.ModuleDict({str(r): ResidualBlock(config, r) for r in self.resolutions})
        self.to_mask = Projection(
            config.backbone.channels(self.resolutions[0]), 1,
            w_dim=config.backbone.w_dim, clamp=config.backbone.conv_clamp,
        )  # fmt: skip

    @property
    def noise_resolutions(self) -> tuple[int, ...]:
        """Resolution of each convolution's noise, in order."""
        return tuple(r for r in self.resolutions for _ in range(2))

    def block(self, resolution: int) -> ResidualBlock:
        """The block of one resolution."""
        block = self.blocks[str(resolution)]
        assert isinstance(block, ResidualBlock)
        return block

    def features(self, resolution: int, x: Tensor, w_defect: Tensor, noise: Sequence[Tensor | None]) -> Tensor:
        """F_defect at one resolution, from the manipulated features of the resolution below."""
        i = self.resolutions.index(resolution)
        # ToMask of the first block reads row 2, and so does the next block, as a block shares the row of ToRGB.
        first = 2 * i
        out: Tensor = self.blocks[str(resolution)](
            x, [w_defect[:, first], w_defect[:, first + 1]], noise[first : first + 2]
        )
        return out

    def mask_logits(self, f_defect: Tensor, w_defect: Tensor) -> Tensor:
        """M = ToMask(F_defect of the first block); raw logits [N, 1, r, r]."""
        out: Tensor = self.to_mask(f_defect, w_defect[:, 2])
        return out
