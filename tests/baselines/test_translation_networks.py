import pytest
import torch

from defect_synth.baselines.defect_gan_networks import DefectGANDiscriminator
from defect_synth.baselines.sdgan_networks import SDGANGenerator
from defect_synth.baselines.translation_networks import PatchDiscriminator


@pytest.mark.parametrize("side", [32, 64])
def test_networks_keep_the_image_size(side, rng):
    image = torch.randn(2, 3, side, side, generator=rng)
    assert SDGANGenerator(4, 1)(image).shape == image.shape
    assert PatchDiscriminator(4)(image).shape[:2] == (2, 1)
    scores, names = DefectGANDiscriminator(3, 4)(image)
    assert (scores.shape[0], names.shape) == (2, (2, 3))
