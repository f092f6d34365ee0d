"""Image-to-image networks of the translation baselines: a residual generator and a discriminator of patches.

Both are the field's usual forms (Johnson et al. 2016; Isola et al. 2017), with instance normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn


def _normalised(channels: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels), nn.ReLU()]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity: [N, C, H, W] -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), *_normalised(channels),
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), nn.InstanceNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def encoder(channels: int, blocks: int) -> nn.Sequential:
    """[N, 3, R, R] -> [N, 4 channels, R/4, R/4]: two halvings, then residual blocks."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels, 7, padding=3, padding_mode="reflect"), *_normalised(channels)]
    for width in (channels, 2 * channels):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *_normalised(2 * width)]
    return nn.Sequential(*layers, *(ResidualBlock(4 * channels) for _ in range(blocks)))


class Translator(nn.Module):
    """One domain -> the other: signal [N, 3, R, R] -> [N, 3, R, R] in [-1, 1]; R a multiple of 4."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        decoder: list[nn.Module] = []
        for width in (4 * channels, 2 * channels):
            # Enlarging before the convolution leaves no checkerboard, which a transposed convolution would.
            decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width // 2, 3, padding=1)]
            decoder += _normalised(width // 2)
        decoder += [nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.body = nn.Sequential(encoder(channels, blocks), *decoder)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.body(image)
        return out


class PatchJudge(nn.Module):
    """A score per patch: signal [N, 3, R, R] -> [N, 1, R/8 or so, R/8 or so], real where high."""

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
