"""The networks of Defect-GAN (Zhang et al. 2021): a generator of defect layers and a classifying discriminator."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.baselines.translation_networks import PatchDiscriminator, encoder


class DefectLayer(NamedTuple):
    """A layer that is composed onto an image.

    Attributes:
        colour: f, signal [N, 3, R, R] in [-1, 1].
        map: m, the spatial distribution map [N, 1, R, R] in [0, 1].
    """

    colour: Tensor
    map: Tensor

    def composed(self, image: Tensor) -> Tensor:
        """X (1 - m) + f m: the image [N, 3, R, R] itself where the map is 0."""
        return image + self.map * (self.colour - image)


class SpatiallyAdaptiveNorm(nn.Module):
    """Instance normalisation with scale and shift from the spatial category map (SPADE, Park et al. 2019)."""

    def __init__(self, channels: int, categories: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.shared = nn.Conv2d(categories, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.shift = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, category_map: Tensor) -> Tensor:
        hidden = torch.relu(self.shared(F.interpolate(category_map, size=x.shape[2:])))
        out: Tensor = self.norm(x) * (1 + self.scale(hidden)) + self.shift(hidden)
        return out


class DefectGANDecoderBlock(nn.Module):
    """Twice the resolution and half the channels, with noise of a learnt strength per channel."""

    def __init__(self, channels: int, categories: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.noise_strength = nn.Parameter(torch.zeros(channels // 2, 1, 1))
        self.norm = SpatiallyAdaptiveNorm(channels // 2, categories, hidden)

    def forward(self, x: Tensor, category_map: Tensor, noise: Tensor) -> Tensor:
        x = self.conv(F.interpolate(x, scale_factor=2))
        return torch.relu(self.norm(x + self.noise_strength * noise, category_map))


class DefectGANGenerator(nn.Module):
    """Image and spatial category map -> `DefectLayer`.

    Category 0 is normal, which restores an image; 1, 2, ... are the defect categories.

    Args:
        resolution: Side R of the images in pixels.
        categories: Number of categories, with normal.
        channels: Of the first layer.
        blocks: Residual blocks of the encoder.
    """

    def __init__(self, resolution: int, categories: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.resolution, self.categories = resolution, categories
        self.encoder = encoder(channels, blocks)
        self.first = DefectGANDecoderBlock(4 * channels, categories, channels)
        self.second = DefectGANDecoderBlock(2 * channels, categories, channels)
        self.colour = nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect")
        self.map = nn.Conv2d(channels, 1, 7, padding=3, padding_mode="reflect")

    @property
    def noise_numel(self) -> int:
        """Length of the noise of one sample."""
        return (self.resolution // 2) ** 2 + self.resolution**2

    def forward(self, image: Tensor, category_map: Tensor, noise: Tensor) -> DefectLayer:
        """The layer for images.

        Args:
            image: Signal [N, 3, R, R].
            category_map: Wanted category of each pixel, [N, categories, R, R].
            noise: [N, noise_numel].
        """
        half = self.resolution // 2
        coarse, fine = noise[:, : half**2], noise[:, half**2 :]
        x = self.first(self.encoder(image), category_map, coarse.reshape(-1, 1, half, half))
        x = self.second(x, category_map, fine.reshape(-1, 1, self.resolution, self.resolution))
        return DefectLayer(torch.tanh(self.colour(x)), torch.sigmoid(self.map(x)))


class DefectGANDiscriminator(nn.Module):
    """Scores of patches and category logits [N, categories] from the same features."""

    def __init__(self, categories: int, channels: int) -> None:
        super().__init__()
        # No normalisation: the gradient penalty is one of each sample alone (Gulrajani et al. 2017).
        self.patches = PatchDiscriminator(channels, normalise=False)
        self.category = nn.Linear(self.patches.width, categories)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.patches.features(image)
        return self.patches.score(features), self.category(features.mean(dim=(2, 3)))


def uniform_category_map(labels: Tensor, categories: int, resolution: int) -> Tensor:
    """One-hot category maps [N, categories, R, R] with the same category at every pixel, from labels [N]."""
    one_hot = F.one_hot(labels, categories).float()
    return one_hot[:, :, None, None].expand(-1, -1, resolution, resolution)
