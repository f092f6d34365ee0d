from types import SimpleNamespace

import numpy as np
import pytest
import torch

from defect_synth.errors import CheckpointError
from defect_synth.metrics.inception import InceptionNetwork, fid_inception, inception_features, resize_as_tensorflow_1
from defect_synth.nn.torchvision_import import ensure_torchvision


@pytest.fixture(scope="module")
def torchvision_network():
    """torchvision's network with the changes of TensorFlow's graph, and weights that keep the signal alive."""
    ensure_torchvision()
    from torchvision.models.inception import Inception3

    with torch.device("meta"):
        network = Inception3(num_classes=1008, aux_logits=False, init_weights=False).eval()
    network.to_empty(device="cpu")
    rng = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith("conv.weight"):
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=rng)
        elif name.endswith(("bn.weight", "running_var")):
            tensor.uniform_(0.8, 1.25, generator=rng)
        else:
            tensor.zero_() if tensor.dtype == torch.long else tensor.normal_(0, 0.1, generator=rng)
    return network


@pytest.fixture(scope="module")
def network(torchvision_network):
    return InceptionNetwork(torchvision_network.state_dict())


def test_features_equal_torchvision_with_the_pooling_of_the_graph_of_2015(torchvision_network, network, monkeypatch):
    from torchvision.models import inception as theirs

    last_block = []
    torchvision_network.Mixed_7c.register_forward_pre_hook(lambda *_: last_block.append(True))

    def pool(x, kernel_size, stride, padding):
        if last_block:
            return torch.nn.functional.max_pool2d(x, kernel_size, stride, padding)
        return torch.nn.functional.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    monkeypatch.setattr(theirs, "F", SimpleNamespace(**vars(torch.nn.functional) | {"avg_pool2d": pool}))
    x = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torchvision_network.fc = torch.nn.Identity()

    with torch.no_grad():
        expected, found = torchvision_network(x), network(x)

    assert found.shape == (1, 2048)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_extractor_takes_pixels_and_is_called_inception(network):
    extractor = inception_features(network)
    pixels = torch.randint(0, 256, (1, 3, 32, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))

    with torch.no_grad():
        expected = network((pixels.float() - 128) / 128)

    assert extractor.name == "Inception"
    torch.testing.assert_close(extractor(pixels), expected, rtol=0, atol=1e-5)


def test_resizing_has_no_half_pixel_offset():
    row = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(1, 1, 4, 4)
    assert resize_as_tensorflow_1(row, 8)[0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]
    assert resize_as_tensorflow_1(row, 2)[0, 0, 0].tolist() == [0, 2]
    assert resize_as_tensorflow_1(row.transpose(2, 3), 2)[0, 0, :, 0].tolist() == [0, 2]
    assert resize_as_tensorflow_1(row, 4) is row


def test_a_missing_or_foreign_file_is_refused_with_the_name_of_the_right_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*; expected pt_inception-2015-12-05-6726825d\.pth of github"):
        fid_inception(tmp_path / "inception.pth")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"no tensor 'Conv2d_1a_3x3\.conv\.weight'; expected pt_inception"):
        fid_inception(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_bytes(np.arange(9).tobytes())
    with pytest.raises(CheckpointError, match=r"cannot read .*text\.pth"):
        fid_inception(tmp_path / "text.pth")
