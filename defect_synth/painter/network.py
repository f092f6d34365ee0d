"""The painter's networks: DFMGAN with a real image in place of noise and a given mask in place of a generated one.

A frozen image backbone, an encoder-decoder of normal images, turns a view of the user's image into features. Residual
blocks that know the mask, the defect category and a random code add defect features inside the mask (Eq. 1, Sec. 3.2),
and the rest of the frozen decoder draws them. The result is blended into the view inside the mask with a learnt
opacity, so nothing outside the mask can change, and a faint defect does not blur what lies under it.

All networks are convolutional: the sides of a view may be any multiples of `STRIDE`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.nn.layers import EqualLinear
from defect_synth.painter.appearance import NUM_STATISTICS, match_appearance
from defect_synth.painter.codes import PaintingCodes
from defect_synth.painter.config import PainterModelConfig
from defect_synth.painter.layers import Conv, Mix, StyledConv, double

_OPACITY_BIAS = 2.0  # paintings start almost opaque: the discriminators would learn nothing from transparent ones


class ViewFeatures(NamedTuple):
    """Features of a view in the frozen backbone.

    Attributes:
        fine: At stride 4, with everything coarser merged into it.
        middle: At stride 8.
        coarse: At stride 16.
    """

    fine: Tensor
    middle: Tensor
    coarse: Tensor


class PaintedView(NamedTuple):
    """A painting, and how it was blended; with the latter it can be laid on an image finer than the view.

    Attributes:
        image: Signal, [N, 3, H, W]; equal to the view outside the mask.
        colour: What was painted, signal, [N, 3, H, W].
        opacity: How much of the view it covers, 0 to 1, 0 outside the mask, [N, 1, H, W].
        residual: What the network adds to the donor, [N, 3, H, W].
    """

    image: Tensor
    colour: Tensor
    opacity: Tensor
    residual: Tensor


class ImageBackbone(nn.Module):
    """Stage 1': encoder-decoder that reconstructs views of normal images, [N, 3, H, W] -> [N, 3, H, W] (signal)."""

    def __init__(self, config: PainterModelConfig) -> None:
        super().__init__()
        c1, c2, c4, c8, c16 = self.channels = config.channels
        self.stem = Conv(12, c2)  # 2 x 2 pixels at a time: an eighth of the work of a layer at full size
        self.down = nn.ModuleList([Conv(c2, c4, stride=2), Conv(c4, c8, stride=2), Conv(c8, c16, stride=2)])
        self.top = Conv(c16, c8)
        self.links = nn.ModuleList([Mix(c8, c8), Mix(c4, c8)])
        self.merge = Conv(c8, c8)
        self.fuse = Conv(c8, c4)
        self.up = nn.ModuleList([Conv(c4, c2), Conv(c2, c1)])
        self.sharpen = Conv(c2, c2)
        self.to_rgb = nn.ModuleList([Mix(c2, 3), Mix(c1, 3)])

    def encode(self, view: Tensor) -> ViewFeatures:
        """Features of a view [N, 3, H, W]."""
        x = self.stem(F.pixel_unshuffle(view, 2))
        f4 = self.down[0](x)
        f8 = self.down[1](f4)
        f16 = self.down[2](f8)
        x = self.merge(double(self.top(f16)).add_(self.links[0](f8)))
        fine = self.fuse(double(x).add_(self.links[1](f4)))
        return ViewFeatures(fine, f8, f16)

    def draw(self, fine: Tensor, residuals: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Image drawn from features at stride 4; `residuals` are added to the features at strides 2 and 1 (Eq. 1)."""
        f2 = self.sharpen(double(self.up[0](fine)))
        if residuals is not None:
            f2 = f2 + residuals[0]
        f1 = double(self.up[1](f2))
        if residuals is not None:
            f1 = f1 + residuals[1]
        out: Tensor = double(self.to_rgb[0](f2)).add_(self.to_rgb[1](f1))
        return out

    def forward(self, view: Tensor) -> Tensor:
        return self.draw(self.encode(view).fine)


class DefectBranch(nn.Module):
    """Residual features, colour residual and opacity of a painting from mask, defect, codes, and a donor or none."""

    def __init__(self, config: PainterModelConfig, num_defects: int) -> None:
        super().__init__()
        c1, c2, c4, c8, c16 = config.channels
        maps = config.map_channels
        self.z_dim, self.num_defects, self.grain = config.z_dim, num_defects, config.grain
        self.embed = EqualLinear(num_defects, config.z_dim)
        self.look = EqualLinear(NUM_STATISTICS, config.z_dim)
        self.mapping = nn.ModuleList(
            EqualLinear(n, config.w_dim, lr_multiplier=0.1) for n in (3 * config.z_dim, config.w_dim)
        )
        # Mask, donor, whether there is a donor, and view: 8 channels, 2 x 2 pixels at a time.
        self.condition = Conv(4 * 8, c2)
        self.down = nn.ModuleList([Conv(c2, c4, stride=2), Conv(c4, c8, stride=2), Conv(c8, c16, stride=2)])
        self.start = Mix(maps + 2 * c16, c16)
        self.join = nn.ModuleList([Mix(2 * c8, c8), Mix(maps + 2 * c4, c4), Mix(c2, c2), Mix(8, c1)])
        widths = (c16, c8, c4, c2, c1)

        def styled(a: int, b: int) -> StyledConv:
            return StyledConv(a, b, w_dim=config.w_dim)

        self.first = styled(c16, c16)
        self.lower = nn.ModuleList(styled(a, b) for a, b in pairwise(widths))
        self.upper = nn.ModuleList(styled(b, b) for b in widths[1:])
        self.to_colour = Mix(c1, 4)
        with torch.no_grad():
            self.to_colour.weight.zero_()
            self.to_colour.bias[3] = _OPACITY_BIAS

    def style(self, z: Tensor, appearance: Tensor, label: Tensor) -> Tensor:
        """w_defect [N, w_dim] of z [N, z_dim], appearance [N, 6] and label [N] (or one-hot [N, num_defects])."""
        one_hot = F.one_hot(label, self.num_defects).to(z.dtype) if label.ndim == 1 else label
        parts = [z, self.embed(one_hot), self.look(appearance)]
        x = torch.cat([p * (p.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt() for p in parts[:2]] + parts[2:], dim=1)
        for layer in self.mapping:
            x = F.leaky_relu(layer(x), 0.2) * 2**0.5
        return x

    def forward(
        self,
        view: Tensor,
        features: ViewFeatures,
        mask: Tensor,
        donor: Tensor,
        has_donor: Tensor,
        codes: PaintingCodes[Tensor],
        label: Tensor,
    ) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
        """Residual features at strides 2 and 1, colour residual [N, 3, H, W] and opacity logits [N, 1, H, W]."""
        w = self.style(codes.z, codes.appearance, label)
        flag = has_donor.to(view.dtype)[:, None, None, None]
        source = donor * mask * flag
        if self.grain:
            source = source + codes.grain * mask * ((1 - flag) * self.grain)
        shown = torch.cat([mask, source, mask * flag, view], dim=1)
        shown = shown.contiguous(memory_format=torch.channels_last)
        k2 = self.condition(F.pixel_unshuffle(shown, 2))
        k4 = self.down[0](k2)
        k8 = self.down[1](k4)
        k16 = self.down[2](k8)
        x = self.first(self.start(torch.cat([codes.coarse_map, features.coarse, k16], dim=1)), w)
        joined = (
            torch.cat([features.middle, k8], dim=1),
            torch.cat([codes.fine_map, features.fine, k4], dim=1),
            k2,
            shown,
        )
        stages = []
        for lower, upper, join, extra in zip(self.lower, self.upper, self.join, joined, strict=True):
            # The first convolution comes before upsampling, which takes a quarter of the work of the usual order.
            x = upper(double(lower(x, w)).add_(join(extra)), w)
            stages.append(x)
        colour, opacity = self.to_colour(stages[-1]).split([3, 1], dim=1)
        return (stages[-2], stages[-1]), colour, opacity


class PainterModel(nn.Module):
    """Frozen image backbone and defect branch: the counterpart of `DFMGAN`."""

    def __init__(self, config: PainterModelConfig, num_defects: int) -> None:
        super().__init__()
        self.config, self.num_defects = config, num_defects
        self.backbone = ImageBackbone(config)
        self.branch = DefectBranch(config, num_defects)

    def forward(
        self, view: Tensor, mask: Tensor, donor: Tensor, has_donor: Tensor, codes: PaintingCodes[Tensor], label: Tensor
    ) -> PaintedView:
        """Paint on views.

        Args:
            view: Signal, [N, 3, H, W], H and W multiples of `STRIDE`.
            mask: 0 or 1, [N, 1, H, W].
            donor: A real defect fitted to the mask, signal, [N, 3, H, W]; only read where `has_donor`.
            has_donor: Whether sample i starts from its donor or is painted freely, bool [N].
            codes: The random part.
            label: Index of the defect, int64 [N], or one-hot, float [N, num_defects].
        """
        features = self.backbone.encode(view)
        residuals, residual, opacity = self.branch(view, features, mask, donor, has_donor, codes, label)
        half = F.max_pool2d(mask, 2)
        drawn = self.backbone.draw(features.fine, (residuals[0] * half, residuals[1] * mask))
        free = match_appearance(drawn + residual, mask, codes.appearance)
        colour = torch.where(has_donor[:, None, None, None], donor + residual, free)
        return _blended(view, colour, torch.sigmoid(opacity) * mask, residual)

    def paint_from_donors(
        self, view: Tensor, mask: Tensor, donor: Tensor, codes: PaintingCodes[Tensor], label: Tensor
    ) -> PaintedView:
        """`forward` for views that all have a donor; skips the decoder, of which nothing would be seen."""
        has_donor = torch.ones(len(view), dtype=torch.bool, device=view.device)
        features = self.backbone.encode(view)
        _, residual, opacity = self.branch(view, features, mask, donor, has_donor, codes, label)
        return _blended(view, donor + residual, torch.sigmoid(opacity) * mask, residual)


def _blended(view: Tensor, colour: Tensor, opacity: Tensor, residual: Tensor) -> PaintedView:
    return PaintedView(view + opacity * (colour - view), colour, opacity, residual)
