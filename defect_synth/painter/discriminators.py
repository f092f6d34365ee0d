"""Discriminators of the painter: heads on frozen features, D_match on pixels and mask, and their hinge losses.

Each discriminator is local: at every position it says whether the image there, given the mask, is real. Positions are
weighted by the mask, so that a crack on 0.1 % of the view counts as much as a stain on 20 % of it. Heads on frozen
features follow Projected GANs (Sauer et al. 2021), D_match the paper (Sec. 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from defect_synth.nn.batch_norm import fold_batch_norm
from defect_synth.painter.network import ImageBackbone

_WIDTH = 64
_OUTSIDE = 0.03  # weight of a position without defect relative to one with: borders must blend in


class FrozenFeatures(Protocol):
    """Feature maps of several strides of views [N, 3, H, W] (signal); their channels are multiples of 16."""

    @property
    def name(self) -> str:
        """Name for the model card."""
        ...

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each map."""
        ...

    def __call__(self, view: Tensor) -> list[Tensor]:
        """Feature maps [N, C, h, w], the finest first."""
        ...


class BackboneFeatures:
    """Features of the frozen image backbone, which need no pretrained weights."""

    name = "image backbone"

    def __init__(self, backbone: ImageBackbone) -> None:
        self._backbone = backbone
        self.channels = backbone.channels[2:]

    def __call__(self, view: Tensor) -> list[Tensor]:
        backbone = self._backbone
        x = backbone.stem(F.pixel_unshuffle(view, 2))
        maps = []
        for layer in backbone.down:
            x = layer(x)
            maps.append(x)
        return maps


class Lite0Features(nn.Module):
    """EfficientNet-Lite0 from a file, up to stride 16, batch normalisation folded into the convolutions.

    Args:
        path: As for `metrics.efficientnet.EfficientNetLite0`.
    """

    name = "EfficientNet-Lite0"
    channels = (32, 48, 112)  # of 24, 40 and 112: padded to multiples of 16

    def __init__(self, path: Path) -> None:
        super().__init__()
        from defect_synth.metrics.efficientnet import EfficientNetLite0

        network = EfficientNetLite0(path).network
        self.stem = nn.Sequential(network.get_submodule("conv_stem"), network.get_submodule("bn1"))
        self.stages = nn.ModuleList(list(network.get_submodule("blocks").children())[:5])
        fold_batch_norm(self)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, view: Tensor) -> list[Tensor]:
        x = self.stem(view * (127.5 / 128) + 0.5 / 128)  # as TensorFlow's EfficientNet-Lite was trained
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in (1, 2, 4):
                maps.append(F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 16)) if x.shape[1] % 16 else x)
        return maps


class LocalDiscriminators(nn.Module):
    """One head for each map of frozen features, and D_match on pixels and mask.

    The scales by which the maps are standardised are part of the state, so a resumed run standardises alike.
    """

    def __init__(self, channels: Sequence[int], num_defects: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_FeatureHead(c, num_defects) for c in channels)
        self.match = _MatchDiscriminator(num_defects)
        for i, c in enumerate(channels):
            self.register_buffer(f"scale{i}", torch.ones(c))

    @torch.no_grad()
    def standardise(self, maps: Sequence[Tensor]) -> None:
        """Make the mean square of every channel of `maps` about 1."""
        for i, x in enumerate(maps):
            power = x.square().mean(dim=(0, 2, 3))
            scale = torch.where(power > 1e-8, power.clamp_min(1e-8).rsqrt(), torch.zeros_like(power))
            self.get_buffer(f"scale{i}").copy_(scale)

    def forward(self, maps: Sequence[Tensor], view: Tensor, mask: Tensor, label: Tensor) -> list[Tensor]:
        """Maps of logits [N, 1, h, w], one for each discriminator.

        Args:
            maps: Frozen features of `view`.
            view: Signal, [N, 3, H, W].
            mask: 0 or 1, [N, 1, H, W].
            label: Index of the defect, int64 [N].
        """
        out = []
        for i, (head, x) in enumerate(zip(self.heads, maps, strict=True)):
            scaled = x * self.get_buffer(f"scale{i}")[:, None, None]
            out.append(head(scaled, F.adaptive_avg_pool2d(mask, (x.shape[2], x.shape[3])), label))
        out.append(self.match(view, mask, label))
        return out


class _FeatureHead(nn.Module):
    """Discriminator on one map of frozen features, with the mask at its resolution."""

    def __init__(self, channels: int, num_defects: int) -> None:
        super().__init__()
        self.enter = spectral_norm(nn.Conv2d(channels, _WIDTH, 1))
        self.mask = nn.Parameter(torch.randn(_WIDTH, 1, 1) * 0.5)
        self.a = spectral_norm(nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1))
        self.b = spectral_norm(nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1))
        self.out = _ProjectionLogits(_WIDTH, num_defects)

    def forward(self, x: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        x = F.leaky_relu(self.enter(x) + mask * self.mask, 0.2)
        x = F.leaky_relu(self.a(x), 0.2)
        out: Tensor = self.out(F.leaky_relu(self.b(x), 0.2), label)
        return out


class _MatchDiscriminator(nn.Module):
    """Discriminator on image and mask at full resolution: colour, sharpness, and how a defect ends at its border."""

    def __init__(self, num_defects: int) -> None:
        super().__init__()
        widths = (32, 64, 96, 96)
        sizes = [(16, widths[0], 1), (widths[0], widths[1], 2), (widths[1], widths[2], 2), (widths[2], widths[3], 1)]
        self.layers = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 3, stride=s, padding=1)) for a, b, s in sizes)
        self.out = _ProjectionLogits(widths[-1], num_defects)

    def forward(self, view: Tensor, mask: Tensor, label: Tensor) -> Tensor:
        x = F.pixel_unshuffle(torch.cat([view, mask * 2 - 1], dim=1), 2)
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        out: Tensor = self.out(x, label)
        return out


class _ProjectionLogits(nn.Module):
    """Logit at each position: an unconditional one plus the projection on the defect (Miyato and Koyama 2018)."""

    def __init__(self, channels: int, num_defects: int) -> None:
        super().__init__()
        self.unconditional = spectral_norm(nn.Conv2d(channels, 1, 1))
        self.defect = nn.Embedding(num_defects, channels)
        nn.init.normal_(self.defect.weight, std=channels**-0.5)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        projection = (x * self.defect(label)[:, :, None, None]).sum(dim=1, keepdim=True)
        out: Tensor = self.unconditional(x) + projection
        return out


def weighted_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over positions of values [N, 1, h, w], weighted by the mask [N, 1, H, W] of each image. -> [N]."""
    weight = F.adaptive_max_pool2d(mask, values.shape[2:]) + _OUTSIDE
    return (values * weight).sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3))


def discriminator_loss(
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    bare: Sequence[Tensor],
    real_mask: Tensor,
    fake_mask: Tensor,
    bare_mask: Tensor,
) -> Tensor:
    """Hinge loss: real defects against painted ones, and against masks under which there is no defect.

    The mismatched pairs of the last term are what makes "nothing" a bad painting.

    Args:
        real: Logits of real defects, one map [N, 1, h, w] for each discriminator.
        fake: Logits of paintings.
        bare: Logits of normal views under masks.
        real_mask: Masks of the real defects, [N, 1, H, W].
        fake_mask: Masks of the paintings.
        bare_mask: Masks of the normal views.
    """
    total = real[0].new_zeros([])
    for r, f, b in zip(real, fake, bare, strict=True):
        total = total + weighted_mean(F.relu(1 - r), real_mask).mean()
        total = total + 0.7 * weighted_mean(F.relu(1 + f), fake_mask).mean()
        total = total + 0.3 * weighted_mean(F.relu(1 + b), bare_mask).mean()
    return total / len(real)


def painter_loss(fake: Sequence[Tensor], mask: Tensor) -> Tensor:
    """The painter's part of the hinge loss, on the logits of paintings and their masks [N, 1, H, W]."""
    return -torch.stack([weighted_mean(f, mask).mean() for f in fake]).mean()
