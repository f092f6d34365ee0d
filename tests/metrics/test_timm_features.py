import pytest
import torch

from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.metrics.timm_features import timm_features
from defect_synth.nn.torchvision_import import ensure_torchvision

NAME = "test_resnet"  # timm's own for tests: half a million parameters


@pytest.fixture(scope="module")
def network():
    ensure_torchvision()
    import timm

    return timm.create_model(NAME, pretrained=False).eval()


def test_features_of_a_file_are_those_of_the_network_before_its_classifier(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    side = network.pretrained_cfg["input_size"][-1]
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    extractor = timm_features(NAME, tmp_path / "weights.pth")

    mean, std = (torch.tensor(network.pretrained_cfg[part]).view(3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        maps = network.forward_features((images.float() / 255 - mean) / std)
        expected = network.forward_head(maps, pre_logits=True)
    assert extractor.name == NAME
    torch.testing.assert_close(extractor(images), expected, rtol=1e-4, atol=1e-5)


def test_unknown_models_and_missing_or_damaged_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="timm has no model 'resnet-18'"):
        timm_features("resnet-18")
    with pytest.raises(CheckpointError, match=f"expected the weights of timm's {NAME}"):
        timm_features(NAME, tmp_path / "none.pth")
    (tmp_path / "damaged.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=rf"cannot be read from .*damaged\.pth .*--features {NAME}=FILE"):
        timm_features(NAME, tmp_path / "damaged.pth")
