"""The networks of Defect-GAN (Zhang et al. 2021): one defaces and restores layer-wise, one judges and names."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defect_synth.baselines.translation import PatchJudge, encoder


class Layer(NamedTuple):
    """A layer to lay over an image: colours f [N, 3, R, R] in [-1, 1] and soft map m [N, 1, R, R] in [0, 1]."""

    colour: Tensor
    map: Tensor

    def over(self, image: Tensor) -> Tensor:
        """X (1 - m) + f m: where the map is 0, the image as it was."""
        return image + self.map * (self.colour - image)


class SpatialNorm(nn.Module):
    """Normalisation whose scale and shift come from the spatial category map (SPADE, Park et al. 2019)."""

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


class DecoderBlock(nn.Module):
    """Twice the size, half the channels; noise of a learnt strength per channel is added before the activation."""

    def __init__(self, channels: int, categories: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.noise_strength = nn.Parameter(torch.zeros(channels // 2, 1, 1))
        self.norm = SpatialNorm(channels // 2, categories, hidden)

    def forward(self, x: Tensor, category_map: Tensor, noise: Tensor) -> Tensor:
        x = self.conv(F.interpolate(x, scale_factor=2))
        return torch.relu(self.norm(x + self.noise_strength * noise, category_map))


class Defacer(nn.Module):
    """Image and spatial category map -> `Layer`. Category 0 is normal (restoration), 1.. are the defects."""

    def __init__(self, resolution: int, categories: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.resolution, self.categories = resolution, categories
        self.encoder = encoder(channels, blocks)
        self.first = DecoderBlock(4 * channels, categories, channels)
        self.second = DecoderBlock(2 * channels, categories, channels)
        self.colour = nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect")
        self.map = nn.Conv2d(channels, 1, 7, padding=3, padding_mode="reflect")

    @property
    def noise_numel(self) -> int:
        """Length of one sample's noise."""
        return (self.resolution // 2) ** 2 + self.resolution**2

    def forward(self, image: Tensor, category_map: Tensor, noise: Tensor) -> Layer:
        """Image [N, 3, R, R], map [N, categories, R, R], noise [N, noise_numel] -> layer."""
        half = self.resolution // 2
        coarse, fine = noise[:, : half**2], noise[:, half**2 :]
        x = self.first(self.encoder(image), category_map, coarse.reshape(-1, 1, half, half))
        x = self.second(x, category_map, fine.reshape(-1, 1, self.resolution, self.resolution))
        return Layer(torch.tanh(self.colour(x)), torch.sigmoid(self.map(x)))


class NamingJudge(nn.Module):
    """Scores of patches and logits of categories [N, categories] from the same features."""

    def __init__(self, categories: int, channels: int) -> None:
        super().__init__()
        # No normalisation: a gradient penalty is taken per sample (Gulrajani et al. 2017).
        self.patches = PatchJudge(channels, normalise=False)
        self.category = nn.Linear(self.patches.width, categories)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.patches.features(image)
        return self.patches.score(features), self.category(features.mean(dim=(2, 3)))


def category_map(labels: Tensor, categories: int, resolution: int) -> Tensor:
    """The same category everywhere: labels [N] -> one-hot [N, categories, R, R]."""
    one_hot = F.one_hot(labels, categories).float()
    return one_hot[:, :, None, None].expand(-1, -1, resolution, resolution)
