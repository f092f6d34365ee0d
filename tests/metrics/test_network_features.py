import pytest
import torch
from torch import nn

from defect_synth.errors import CheckpointError, ConfigError
from defect_synth.metrics.network_features import NetworkFeatures, timm_features
from defect_synth.nn.torchvision_import import ensure_torchvision
from tests.metrics.nuts import nuts

NAME = "test_resnet"  # timm's own for tests: half a million parameters


def test_feature_maps_are_pooled_to_mean_and_deviation():
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[0, 0, :, 2:] = 255
    extractor = NetworkFeatures(nn.Identity(), "pixels", mean=(0, 0, 0), std=(1, 1, 1))

    assert extractor.name == "pixels"
    assert extractor(images).tolist() == [[0.5, 0, 0, 0.5, 0, 0]]
    masks = torch.zeros(1, 4, 4, dtype=torch.uint8)
    masks[0, 0, 3] = 1  # grown by one pixel: two white columns
    assert extractor(images, masks)[0, 6:].tolist() == [1, 0, 0, 0, 0, 0]


def test_a_network_that_returns_vectors_sees_only_the_defect_on_its_second_pass():
    images, masks = nuts(1, seed=0, size=32)
    masks = torch.zeros_like(masks)
    masks[:, :8] = 1
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())

    features = NetworkFeatures(network, "vector")(images, masks)

    assert features.shape == (1, 24)
    lower_half = features[0, 12:].view(3, 2, 2)[:, 1]
    assert torch.equal(lower_half, torch.zeros(3, 2))
    assert features[0, 12:].abs().max() > 0


def test_a_network_is_put_into_evaluation_mode():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    extractor = NetworkFeatures(network, "batch norm")
    images, _ = nuts(3, seed=0, size=32)
    torch.testing.assert_close(extractor(images)[:1], extractor(images[:1]), rtol=0, atol=2e-6)
    assert int(network[1].num_batches_tracked) == 0


def test_digest_depends_on_weights_and_settings():
    digests = {
        NetworkFeatures(nn.Conv2d(3, 1, 1), "a").digest,
        NetworkFeatures(nn.Conv2d(3, 1, 1), "a", size=8).digest,
        NetworkFeatures(nn.Identity(), "a").digest,
    }
    assert len(digests) == 3


@pytest.fixture(scope="module")
def timm_network():
    ensure_torchvision()
    import timm

    return timm.create_model(NAME, pretrained=False).eval()


def test_features_of_a_file_are_those_of_the_network_before_its_classifier(tmp_path, timm_network):
    torch.save(timm_network.state_dict(), tmp_path / "weights.pth")
    side = timm_network.pretrained_cfg["input_size"][-1]
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    extractor = timm_features(NAME, tmp_path / "weights.pth")

    mean, std = (torch.tensor(timm_network.pretrained_cfg[part]).view(3, 1, 1) for part in ("mean", "std"))
    with torch.no_grad():
        maps = timm_network.forward_features((images.float() / 255 - mean) / std)
        expected = timm_network.forward_head(maps, pre_logits=True)
    assert extractor.name == NAME
    torch.testing.assert_close(extractor(images), expected, rtol=1e-4, atol=1e-5)


def test_unknown_models_and_missing_or_damaged_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="timm has no model 'resnet-18'"):
        timm_features("resnet-18")
    with pytest.raises(CheckpointError, match=f"expected the weights of timm's {NAME}"):
        timm_features(NAME, tmp_path / "none.pth")
    (tmp_path / "damaged.pth").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=rf"cannot read .*damaged\.pth .*--features {NAME}=FILE"):
        timm_features(NAME, tmp_path / "damaged.pth")
