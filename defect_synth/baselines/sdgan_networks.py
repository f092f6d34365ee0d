"""The generator of SDGAN: one domain of images to the other (Zhu et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from defect_synth.baselines.translation_networks import encoder, norm_relu


class SDGANGenerator(nn.Module):
    """Image to image: signal [N, 3, R, R] -> [N, 3, R, R] in [-1, 1]; R is a multiple of 4."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        decoder: list[nn.Module] = []
        for width in (4 * channels, 2 * channels):
            # Upsampling before the convolution leaves no checkerboard; a transposed convolution would.
            decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(width, width // 2, 3, padding=1)]
            decoder += norm_relu(width // 2)
        decoder += [nn.Conv2d(channels, 3, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.body = nn.Sequential(encoder(channels, blocks), *decoder)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.body(image)
        return out
