import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from defect_synth.errors import CheckpointError, MissingExtraError
from defect_synth.metrics.inception import InceptionFeatures
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
def weights(torchvision_network, tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({n: t for n, t in torchvision_network.state_dict().items() if "num_batches" not in n}, path)
    return path


@pytest.fixture(scope="module")
def extractor(weights):
    return InceptionFeatures(weights)


def pixels(count, height, width):
    rng = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=rng)


def test_features_equal_torchvision_with_the_pooling_of_the_graph_of_2015(torchvision_network, extractor, monkeypatch):
    from torchvision.models import inception as theirs

    last_block = []
    hook = torchvision_network.Mixed_7c.register_forward_pre_hook(lambda *_: last_block.append(True))

    def pool(x, kernel_size, stride, padding):
        if last_block:
            return torch.nn.functional.max_pool2d(x, kernel_size, stride, padding)
        return torch.nn.functional.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    monkeypatch.setattr(theirs, "F", SimpleNamespace(**vars(torch.nn.functional) | {"avg_pool2d": pool}))
    monkeypatch.setattr(torchvision_network, "fc", torch.nn.Identity())
    images = pixels(1, 299, 299)

    with torch.no_grad():
        expected = torchvision_network((images.float() - 128) / 128)
    hook.remove()
    found = extractor(images)

    assert extractor.name == "Inception"
    assert found.shape == (1, 2048)
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_images_are_resized_without_the_half_pixel_offset_of_later_libraries(extractor):
    images = pixels(1, 40, 32)
    rows, columns = (torch.arange(299) * (side / 299) for side in (40, 32))
    x = images.float()
    for axis, position in ((2, rows), (3, columns)):
        low = position.long()
        high = (low + 1).clamp_max(x.shape[axis] - 1)
        share = (position - low).view((-1, 1) if axis == 2 else (-1,))
        x = x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share
    resized = x.round().to(torch.uint8)  # half a grey level at most

    centred = torch.nn.functional.interpolate(images.float(), (299, 299), mode="bilinear").round().to(torch.uint8)
    found = extractor(images)
    right, wrong = (float((found - extractor(each)).abs().max()) for each in (resized, centred))
    assert right < 0.01
    assert wrong > 0.05


def test_masks_add_the_features_of_the_defect_on_the_mean_colour(extractor):
    images, masks = pixels(2, 64, 64), torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[:, 20:30, 20:30] = 1
    alone = torch.full_like(images, 128)
    alone[:, :, 18:32, 18:32] = images[:, :, 18:32, 18:32]  # the rim is 1/32 of the side

    found = extractor(images, masks)

    torch.testing.assert_close(found, torch.cat([extractor(images), extractor(alone)], dim=1), rtol=0, atol=1e-5)


def test_a_missing_or_foreign_file_is_refused_with_the_name_of_the_right_one(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*; expected pt_inception-2015-12-05-6726825d\.pth of github"):
        InceptionFeatures(tmp_path / "inception.pth")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth holds another network; expected pt_inception"):
        InceptionFeatures(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_bytes(np.arange(9).tobytes())
    with pytest.raises(CheckpointError, match=r"cannot read .*text\.pth"):
        InceptionFeatures(tmp_path / "text.pth")


def test_code_in_the_file_is_not_executed(tmp_path):
    class Code:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    content = io.BytesIO()
    torch.save({"Conv2d_1a_3x3.conv.weight": Code()}, content)
    (tmp_path / "code.pth").write_bytes(content.getvalue())
    with pytest.raises(CheckpointError, match=r"cannot read .*code\.pth"):
        InceptionFeatures(tmp_path / "code.pth")
    assert not (tmp_path / "executed").exists()


def test_without_torch_fidelity_the_extra_is_named(weights, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(MissingExtraError, match=r"'torch-fidelity': pip install 'defect-synth\[fid\]'"):
        InceptionFeatures(weights)
