import numpy as np
import torch

from defect_synth.baselines.defect_gan_networks import DefectGANGenerator, DefectLayer
from defect_synth.baselines.defect_gan_source import UNCHANGED_BELOW, DefectGANSource


def test_pixels_outside_the_map_are_those_of_the_normal_image():
    class Stripes(DefectGANGenerator):
        def forward(self, image, category_map, noise):
            soft = torch.zeros(1, 1, 32, 32)
            soft[..., :8], soft[..., 8:16], soft[..., 16:20] = 1.0, 0.3, UNCHANGED_BELOW / 2
            return DefectLayer(torch.ones_like(image), soft)

    normal = np.random.default_rng(0).integers(0, 200, (1, 32, 32, 3), dtype=np.uint8)
    source = DefectGANSource("nut", ("hole",), Stripes(32, 2, 4, 1), normal, 0.25, torch.device("cpu"), "digest")
    sample = source.sample("hole", [0])[0]
    np.testing.assert_array_equal(sample.image[:, 16:], normal[0][:, 16:])
    assert (sample.image[:, :8] == 255).all()
    expected = normal[0][:, 8:16] + 0.3 * (255.0 - normal[0][:, 8:16])
    assert np.abs(sample.image[:, 8:16] - expected).max() <= 1
    np.testing.assert_array_equal(sample.mask, np.repeat((np.arange(32) < 16)[None], 32, 0))
