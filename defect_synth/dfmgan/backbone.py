"""StyleGAN2 generator with the skip architecture: the backbone of Sec. 3.1 (Karras et al. 2020b)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defect_synth.dfmgan.config import BackboneConfig
from defect_synth.nn.bias_act import bias_act
from defect_synth.nn.layers import EqualLinear, Projection, StyleConv
from defect_synth.nn.upfirdn import upsample2d


class MappingNetwork(nn.Module):
    """z [N, z_dim] -> w [N, w_dim]; z_object and z_defect have one each (Sec. 3.2)."""

    w_avg: Tensor

    def __init__(self, z_dim: int, w_dim: int, num_layers: int) -> None:
        super().__init__()
        sizes = [z_dim] + [w_dim] * num_layers
        self.layers = nn.ModuleList(EqualLinear(a, b, lr_multiplier=0.01) for a, b in pairwise(sizes))
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor) -> Tensor:
        x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            x = bias_act(layer(x), None)
        return x

    def rows(self, z: Tensor, num_ws: int, *, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """`forward`, repeated for each layer, and with truncation pulled towards the mean w.

        Args:
            z: [N, z_dim].
            num_ws: Rows to repeat to.
            truncation: psi; 1 leaves w as it is, 0 gives the mean.
            cutoff: Truncate only the first rows, up to this number; None: all.

        Returns:
            [N, num_ws, w_dim].
        """
        w: Tensor = self(z)
        ws = w[:, None].repeat(1, num_ws, 1)
        if truncation != 1:
            ws[:, :cutoff] = self.w_avg.lerp(ws[:, :cutoff], truncation)
        return ws

    @torch.no_grad()
    def track_average(self, w: Tensor, beta: float = 0.995) -> None:
        """Move `w_avg` towards the mean of a batch of w [N, w_dim]; training calls it once for each new batch."""
        self.w_avg.copy_(w.detach().float().mean(dim=0).lerp(self.w_avg, beta))


class Trunk(NamedTuple):
    """Output of the blocks below the first residual block: features [N, C, r, r] and the image so far [N, 3, r, r]."""

    features: Tensor
    rgb: Tensor


class SynthesisBlock(nn.Module):
    """One resolution: up-convolution, convolution, and ToRGB, which is added to the upsampled image so far."""

    def __init__(self, config: BackboneConfig, resolution: int) -> None:
        super().__init__()
        out = config.channels(resolution)
        common = {"w_dim": config.w_dim, "resolution": resolution, "clamp": config.conv_clamp}
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(out, 4, 4))
        else:
            self.up = StyleConv(config.channels(resolution // 2), out, up=True, **common)  # type: ignore[arg-type]
        self.conv = StyleConv(out, out, up=False, **common)  # type: ignore[arg-type]
        self.to_rgb = Projection(out, config.image_channels, w_dim=config.w_dim, clamp=config.conv_clamp)
        self.resolution = resolution
        self.compute_dtype = torch.float32  # number format of the convolutions, see `precision.set_precision`

    @property
    def num_conv(self) -> int:
        return 1 if self.resolution == 4 else 2

    def features(self, x: Tensor | None, ws: Sequence[Tensor], noise: Sequence[Tensor | None]) -> Tensor:
        """F_object of this resolution; x is None at 4x4. -> [N, C, r, r]."""
        if x is None:
            x = self.const.to(self.compute_dtype).repeat(ws[0].shape[0], 1, 1, 1)
            x = x.contiguous(memory_format=torch.channels_last)
        else:
            x = self.up(x.to(self.compute_dtype), ws[0], noise[0])
        out: Tensor = self.conv(x, ws[self.num_conv - 1], noise[self.num_conv - 1])
        return out

    def accumulate(self, features: Tensor, rgb: Tensor | None, w: Tensor) -> Tensor:
        """Add this block's ToRGB, in float32, to the upsampled image of the previous block."""
        colour: Tensor = self.to_rgb(features, w).float()
        return colour if rgb is None else upsample2d(rgb) + colour


class SynthesisNetwork(nn.Module):
    """The blocks that turn w_object into an image."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({str(r): SynthesisBlock(config, r) for r in config.block_resolutions})

    def block(self, resolution: int) -> SynthesisBlock:
        """The block of one resolution."""
        block = self.blocks[str(resolution)]
        assert isinstance(block, SynthesisBlock)
        return block


class Backbone(nn.Module):
    """z_object -> defect-free image (Sec. 3.1).

    Noise is either None (the constant noise stored with the weights) or one flat vector of length `noise_numel` for
    each sample, so that the noise of a sample does not depend on its batch. Zeros switch it off.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self.mapping = MappingNetwork(config.z_dim, config.w_dim, config.mapping_layers)
        self.synthesis = SynthesisNetwork(config)

    @property
    def noise_resolutions(self) -> tuple[int, ...]:
        """Resolution of each convolution's noise, in order."""
        return (4, *(r for r in self.config.block_resolutions[1:] for _ in range(2)))

    @property
    def noise_numel(self) -> int:
        """Length of one sample's noise."""
        return sum(r * r for r in self.noise_resolutions)

    def rows(self, z_object: Tensor, *, truncation: float = 1.0, cutoff: int | None = None) -> Tensor:
        """z_object [N, z_dim] -> w_object [N, num_ws, w_dim]."""
        return self.mapping.rows(z_object, self.config.num_ws, truncation=truncation, cutoff=cutoff)

    def block_inputs(
        self, resolution: int, w_object: Tensor, noise: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        """Rows of w and noise for the convolutions of one block, and the row of its ToRGB.

        ToRGB shares the row that the next block's first convolution reads.
        """
        i = resolution.bit_length() - 3  # 0 at 4x4
        first, count = (0, 1) if i == 0 else (2 * i - 1, 2)
        ws = [w_object[:, first + k] for k in range(count)]
        return ws, list(noise[first : first + count]), w_object[:, first + count]

    def trunk(self, w_object: Tensor, noise: Tensor | None, *, below: int) -> Trunk:
        """Run the blocks under resolution `below`."""
        maps = split_noise(noise, self.noise_resolutions)
        x: Tensor | None = None
        rgb: Tensor | None = None
        for r in self.config.block_resolutions:
            if r >= below:
                break
            block = self.synthesis.block(r)
            ws, block_noise, w_rgb = self.block_inputs(r, w_object, maps)
            x = block.features(x, ws, block_noise)
            rgb = block.accumulate(x, rgb, w_rgb)
        assert x is not None
        assert rgb is not None
        return Trunk(x, rgb)

    def forward(self, w_object: Tensor, noise: Tensor | None = None) -> Tensor:
        """w_object [N, num_ws, w_dim], noise [N, noise_numel] or None -> image [N, C, R, R], about [-1, 1]."""
        return self.trunk(w_object, noise, below=self.config.resolution + 1).rgb


def split_noise(noise: Tensor | None, resolutions: Sequence[int]) -> list[Tensor | None]:
    """Flat noise [N, sum of r^2] -> one [N, 1, r, r] per convolution; None stays None."""
    if noise is None:
        return [None] * len(resolutions)
    parts = torch.split(noise, [r * r for r in resolutions], dim=1)
    return [part.reshape(-1, 1, r, r) for part, r in zip(parts, resolutions, strict=True)]
