import torch

from defect_synth.baselines.cdc_discriminator import CDCDiscriminator
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.discriminators import build_discriminator


def test_a_patch_logit_sees_a_patch_and_not_the_image(rng):
    discriminator = CDCDiscriminator(build_discriminator(TINY.model))
    assert discriminator.sides == (8, 4)
    image = torch.randn(1, 3, 32, 32, generator=rng, requires_grad=True)
    logits = discriminator.patches(image, 8)
    assert logits.shape == (1, 1, 8, 8)
    logits[0, 0, 0, 0].backward()
    seen = image.grad[0].abs().sum(0) > 0
    assert seen[:4, :4].all()
    assert not seen[-8:].any()
    assert not seen[:, -8:].any()
    assert discriminator(image).shape == (1, 1)
