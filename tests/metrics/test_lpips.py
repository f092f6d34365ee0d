from pathlib import Path

import numpy as np
import pytest
import torch

from defect_synth.errors import CheckpointError
from defect_synth.metrics.lpips import LPIPS
from defect_synth.nn.torchvision_import import ensure_torchvision

SHARED = Path(__file__).parents[2].parent / "shared" / "weights"
ALEXNET, LINEAR = SHARED / "alexnet_imagenet_features.safetensors", SHARED / "lpips_v0.1_lin_alex.pth"
SHAPES = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))


def random_weights(seed=0):
    rng = np.random.default_rng(seed)
    trunk, linear = {}, {}
    for number, (place, outputs, inputs, kernel) in enumerate(SHAPES):
        weight = rng.standard_normal((outputs, inputs, kernel, kernel)) * (2 / (inputs * kernel * kernel)) ** 0.5
        trunk[f"features.{place}.weight"] = torch.from_numpy(weight.astype(np.float32))
        trunk[f"features.{place}.bias"] = torch.from_numpy(rng.normal(0, 0.1, outputs).astype(np.float32))
        linear[f"lin{number}.model.1.weight"] = torch.from_numpy(rng.random((1, outputs, 1, 1)).astype(np.float32))
    return trunk, linear


@pytest.fixture(scope="module")
def random_lpips():
    return LPIPS(*random_weights())


def images(count, size=64, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def distance(lpips, x, y):
    return (lpips.embed(x).double() - lpips.embed(y).double()).square().sum(dim=1)


def test_distance_equals_the_explicit_sum_over_layers(random_lpips):
    trunk, linear = random_weights()
    x, y = images(1), images(1, seed=1)
    maps = []
    for image in (x, y):
        z = (image.double() / 127.5 - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)) / torch.tensor(
            [0.458, 0.448, 0.450]
        ).view(3, 1, 1)
        layers = []
        for place, *_ in SHAPES:
            if place in (3, 6):
                z = torch.max_pool2d(z, 3, 2)
            weight, bias = (trunk[f"features.{place}.{part}"].double() for part in ("weight", "bias"))
            z = torch.conv2d(z, weight, bias, stride=4 if place == 0 else 1, padding={0: 2, 3: 2}.get(place, 1)).relu()
            layers.append(z / z.norm(dim=1, keepdim=True))
        maps.append(layers)
    expected = sum(
        float(((a - b).square() * linear[f"lin{n}.model.1.weight"].double()).sum(dim=1).mean())
        for n, (a, b) in enumerate(zip(*maps, strict=True))
    )

    assert float(distance(random_lpips, x, y)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:(The parameter 'pretrained'|Arguments other):UserWarning")  # the package's own
def test_distance_agrees_with_the_lpips_package(random_lpips):
    ensure_torchvision()
    package = pytest.importorskip("lpips")
    theirs = package.LPIPS(net="alex", pretrained=False, pnet_rand=True, verbose=False)
    trunk, linear = random_weights()
    slices = [f"{name.split('.')[1]}" for name in trunk if name.endswith("weight")]
    renamed = {
        f"net.slice{slices.index(name.split('.')[1]) + 1}.{name.removeprefix('features.')}": tensor
        for name, tensor in trunk.items()
    }
    missing, unexpected = theirs.load_state_dict(renamed | linear, strict=False)
    assert not unexpected
    assert not [name for name in missing if name.startswith("net.")]
    x, y = images(3), images(3, seed=1)

    with torch.no_grad():
        expected = theirs(x.float() / 127.5 - 1, y.float() / 127.5 - 1).flatten().double()

    torch.testing.assert_close(distance(random_lpips, x, y), expected, rtol=0, atol=1e-5)


@pytest.mark.skipif(not ALEXNET.exists(), reason="../shared/weights is not here")
def test_published_weights_give_the_published_distance():
    lpips = LPIPS.load(ALEXNET, LINEAR)
    gradient = torch.arange(64, dtype=torch.uint8).mul(4).expand(1, 3, 64, 64).contiguous()

    found = float(distance(lpips, gradient, gradient.flip(3)))

    assert found == pytest.approx(0.4094340, abs=1e-5)  # lpips 0.1.4, net="alex"


def test_pixels_and_signal_are_the_same_image(random_lpips):
    x = images(2)
    signal = x.float() / 127.5 - 1
    torch.testing.assert_close(random_lpips.embed(x), random_lpips.embed(signal), rtol=0, atol=1e-6)


def test_vectors_do_not_depend_on_the_batch(random_lpips):
    x = images(18)
    together = random_lpips.embed(x)
    torch.testing.assert_close(together[17:], random_lpips.embed(x[17:]), rtol=0, atol=1e-6)


def test_digest_names_the_weights(random_lpips):
    assert LPIPS(*random_weights()).digest == random_lpips.digest
    assert LPIPS(*random_weights(seed=1)).digest != random_lpips.digest


def test_files_of_both_kinds_give_the_same_distance(tmp_path, random_lpips):
    from safetensors.torch import save_file

    trunk, linear = random_weights()
    save_file(trunk, tmp_path / "alexnet.safetensors")
    torch.save(linear, tmp_path / "alex.pth")
    assert LPIPS.load(tmp_path / "alexnet.safetensors", tmp_path / "alex.pth").digest == random_lpips.digest


def test_wrong_files_are_refused_by_what_they_lack(tmp_path):
    trunk, linear = random_weights()
    with pytest.raises(CheckpointError, match=r"no file .*none\.pth; expected AlexNet's convolutions"):
        LPIPS.load(tmp_path / "none.pth", tmp_path / "alex.pth")
    (tmp_path / "alex.pth").write_bytes(b"not a file of weights")
    with pytest.raises(CheckpointError, match=r"cannot read .*alex\.pth .*expected AlexNet"):
        LPIPS.load(tmp_path / "alex.pth", tmp_path / "alex.pth")
    with pytest.raises(CheckpointError, match=r"no tensor 'lin3\.model\.1\.weight'; expected LPIPS v0\.1"):
        LPIPS(trunk, {name: tensor for name, tensor in linear.items() if "lin3" not in name})
    with pytest.raises(CheckpointError, match=r"'features\.3\.weight' should be \[192, 64, 5, 5\], got \[64\]"):
        LPIPS(trunk | {"features.3.weight": torch.zeros(64)}, linear)
    with pytest.raises(CheckpointError, match="lin0 has negative weights"):
        LPIPS(trunk, linear | {"lin0.model.1.weight": -linear["lin0.model.1.weight"]})


def test_a_file_with_code_in_it_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"lin0.model.1.weight": Trap()}, tmp_path / "alex.pth")
    with pytest.raises(CheckpointError, match="cannot read"):
        LPIPS.load(tmp_path / "alex.pth", tmp_path / "alex.pth")
    assert not (tmp_path / "executed").exists()
