import torch

from defect_synth.benchmark.downstream.unet import UNet


def test_the_unet_has_the_channels_of_each_level_and_keeps_the_size():
    torch.manual_seed(0)
    network = UNet(4, 2).eval()
    image = torch.randn(1, 3, 16, 16)
    assert network(image).shape == (1, 1, 16, 16)
    assert sum(p.numel() for p in UNet(4, 2).down[2].parameters()) == 8 * 16 * 9 + 16 * 16 * 9 + 4 * 16
