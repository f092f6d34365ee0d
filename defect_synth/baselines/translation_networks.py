"""Networks that SDGAN and Defect-GAN share: a residual encoder and a patch discriminator.

Both have the usual forms (Johnson et al. 2016; Isola et al. 2017), with instance normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn


def norm_relu(channels: int) -> list[nn.Module]:
    """Instance normalisation and ReLU."""
    return [nn.InstanceNorm2d(channels), nn.ReLU()]


class TranslationBlock(nn.Module):
    """A residual block of two 3x3 convolutions: [N, C, H, W] -> [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), *norm_relu(channels),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def encoder(channels: int, blocks: int) -> nn.Sequential:
    """Two convolutions of stride 2, then residual blocks: [N, 3, R, R] -> [N, 4 channels, R/4, R/4]."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 7, padding=3, padding_mode="reflect"), *norm_relu(channels)]
    for width in (channels, 2 * channels):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *norm_relu(2 * width)]
    return nn.Sequential(*layers, *(TranslationBlock(4 * channels) for _ in range(blocks)))


class PatchDiscriminator(nn.Module):
    """A score for each patch, high for training images: signal [N, 3, R, R] -> [N, 1, about R/8, about R/8].

    Args:
        channels: Of the first layer.
        normalise: Whether the hidden layers have instance normalisation.
    """

    def __init__(self, channels: int, *, normalise: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for width, stride in ((channels, 2), (2 * channels, 2), (4 * channels, 1)):
            layers.append(nn.Conv2d(width, 2 * width, 4, stride=stride, padding=1))
            if normalise:
                layers.append(nn.InstanceNorm2d(2 * width))
            layers.append(nn.LeakyReLU(0.2))
        self.features = nn.Sequential(*layers)
        self.score = nn.Conv2d(8 * channels, 1, 4, padding=1)
        self.width = 8 * channels

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.score(self.features(image))
        return out
