import pytest
import torch
from torch import nn

from defect_synth.nn.batch_norm import fold_batch_norm


def network(bias: bool) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=bias), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 4, 3, stride=2, bias=bias), nn.BatchNorm2d(4)),
    )  # fmt: skip
    with torch.no_grad():
        for layer in layers.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for values in (layer.weight, layer.bias, layer.running_mean):
                    values.normal_()
                layer.running_var.uniform_(0.5, 2)
    return layers.double().eval()


@pytest.mark.parametrize("bias", [False, True])
def test_folding_leaves_the_output_as_it_was(bias):
    layers, x = network(bias), torch.randn(2, 3, 12, 12, dtype=torch.float64)
    before = layers(x)
    fold_batch_norm(layers)
    torch.testing.assert_close(layers(x), before, rtol=1e-12, atol=1e-12)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in layers.modules())


def test_a_timm_layer_leaves_its_activation(monkeypatch):
    from defect_synth.nn.torchvision_import import ensure_torchvision

    ensure_torchvision()
    from timm.layers import BatchNormAct2d

    layers = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNormAct2d(4)).eval()
    x = torch.randn(1, 3, 5, 5)
    with torch.no_grad():
        before = layers(x)
        fold_batch_norm(layers)
        assert isinstance(layers[1], nn.ReLU)
        torch.testing.assert_close(layers(x), before)
        assert float(before.min()) == 0


@pytest.mark.parametrize(
    "layers", [[nn.BatchNorm2d(3)], [nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)]]
)
def test_a_normalisation_that_cannot_be_folded_is_an_error(layers):
    with pytest.raises(ValueError, match="needs running statistics and a convolution before it"):
        fold_batch_norm(nn.Sequential(*layers))
