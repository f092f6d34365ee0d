"""anomalib's real classes with our defects: the command line, the example, its generators and its datamodules."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from defect_synth.augment.adapters.anomalib_generator import DefectAnomalyGenerator
from defect_synth.demo.mvtec_folder import write_demo
from defect_synth.nn.torchvision_import import ensure_torchvision
from tests.test_examples import EXAMPLES, load_example

ensure_torchvision()
pytest.importorskip("anomalib.data", reason="needs the anomalib extra", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # anomalib's and lightning's own

DOCS = Path(__file__).parents[1] / "docs" / "anomalib.md"


@pytest.fixture(scope="module")
def demo_data(tmp_path_factory):
    """A folder as `defect-synth demo-data` leaves it."""
    root = tmp_path_factory.mktemp("data")
    write_demo(root, resolution=64, good=6, test_good=2, per_defect=1)
    return root


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_configuration_trains_from_the_command_line(demo_data, tmp_path, monkeypatch, capsys, offline):
    from defect_synth.augment.adapters.anomalib import main

    before = digests(demo_data)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(demo_data)
    small = ["--model.n_features", "10", "--model.visualizer", "false", "--trainer.enable_progress_bar", "false"]
    monkeypatch.setattr(sys, "argv", ["anomalib", "train", "--config", str(EXAMPLES / "anomalib_config.yaml"), *small])
    main()
    assert "image_F1Score" in capsys.readouterr().out
    assert digests(demo_data) == before  # not one byte of the real data


@pytest.mark.parametrize("painting", ["files", "online"])
def test_the_example_trains_a_supervised_model_both_ways(demo_data, tmp_path, capsys, offline, painting):
    before = digests(demo_data)
    figures = load_example("train_in_anomalib").main(
        [str(demo_data), "--painting", painting, "--epochs", "1", "--size", "128", "--output", str(tmp_path)]
    )
    assert 0 <= figures["image_F1Score"] <= 1
    assert "pixel_AUROC" in capsys.readouterr().out
    painted = list((tmp_path / "painted").rglob("defect/*.png"))
    assert len(painted) == (1 if painting == "online" else 1 + 5)  # validation's, and training's
    assert digests(demo_data) == before


def test_the_example_takes_backbone_weights_from_a_file(tmp_path):
    import timm

    network = timm.create_model("resnet10t", pretrained=False)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    ours = load_example("train_in_anomalib").backbone("resnet10t", tmp_path / "weights.pth")
    assert torch.equal(ours.fc.weight, network.fc.weight)


def batch(n=2, side=64):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4


class Remembering(DefectAnomalyGenerator):
    """Keeps what it was called with and what it gave."""

    def forward(self, images):
        self.given, self.made = images, super().forward(images)
        return self.made


def test_draem_takes_a_training_step_on_our_defects(tmp_path):
    from anomalib.models import Draem

    model = Draem(dtd_dir=tmp_path)  # it exists, so nothing is downloaded
    assert isinstance(model.augmenter, torch.nn.Module)
    # The real networks have 97 million parameters: the step is the same on one layer each.
    model.model = TwoHeads()
    model.augmenter = Remembering("demo", 1.0)
    model.log = lambda *_, **__: None
    images = batch()
    loss = model.training_step(SimpleNamespace(image=images))["loss"]
    loss.backward()
    assert torch.equal(model.augmenter.given, images)
    assert model.augmenter.made[1].flatten(1).any(dim=1).all()
    assert model.model.layer.weight.grad.abs().sum() > 0


class TwoHeads(torch.nn.Module):
    """What Draem's network gives: a reconstruction and two channels of prediction."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, images):
        out = self.layer(images)
        return out[:, :3], out[:, 3:]


class Map(torch.nn.Module):
    """What Dsr's network gives in its second phase."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return {"anomaly_map": self.layer(images)}


def test_dsr_calls_us_in_its_second_phase():
    from anomalib.models import Dsr

    model = Dsr()
    assert isinstance(model.perlin_generator, torch.nn.Module)
    model.model = Map()
    head = model.model.layer
    model.perlin_generator = Remembering("demo", 1.0)
    model.second_phase = 0
    optimizer = torch.optim.SGD(head.parameters(), 0.1)
    model.optimizers = lambda: (optimizer, optimizer)
    model.manual_backward = lambda loss: loss.backward()
    model.log = lambda *_, **__: None
    before = head.weight.detach().clone()
    model.training_step(SimpleNamespace(image=batch()))
    assert model.perlin_generator.made[1].any()
    assert not torch.equal(head.weight, before)


def test_glass_gives_us_images_before_the_normalisation():
    from anomalib.models.image.glass.torch_model import GlassModel

    model = GlassModel(input_shape=(64, 64), backbone="resnet18", pre_trained=False, layers=["layer2", "layer3"],
                       pretrain_embed_dim=16, target_embed_dim=16, discriminator_hidden=8, step=1)  # fmt: skip
    assert isinstance(model.augmentor, torch.nn.Module)
    model.augmentor = Remembering("demo", 1.0)
    model.center = torch.zeros(1, 64, 16)  # one for each patch
    images = batch()
    mean, std = model._img_mean, model._img_std
    losses = model.train()((images - mean) / std)
    assert torch.allclose(model.augmentor.given, images, atol=1e-5)
    assert all(torch.isfinite(loss).all() for loss in losses[:2])


def visa(root: Path) -> Path:
    """A category of VisA after anomalib's own split into folders."""
    write_demo(root / "tmp", resolution=64, good=4, test_good=2, per_defect=1)
    made = root / "visa_pytorch" / "candle"
    found = root / "tmp" / "hazelnut"
    for part, name in (("train/good", "train/good"), ("test/good", "test/good"), ("test/hole", "test/bad"),
                       ("ground_truth/hole", "ground_truth/bad")):  # fmt: skip
        (made / name).mkdir(parents=True)
        for path in (found / part).iterdir():
            (made / name / path.name.replace("_mask", "")).write_bytes(path.read_bytes())
    return root


def bases(kind: str, demo_data: Path, tmp_path: Path):
    from anomalib.data import Folder, MVTecAD, Visa

    settings = {"train_batch_size": 2, "eval_batch_size": 2, "num_workers": 0}
    if kind == "MVTecAD":
        return MVTecAD(demo_data, "hazelnut", **settings)
    if kind == "Visa":
        return Visa(visa(tmp_path), "candle", **settings)
    return Folder(name="nut", root=demo_data / "hazelnut", normal_dir="train/good", normal_test_dir="test/good",
                  abnormal_dir="test/hole", mask_dir="ground_truth/hole", **settings)  # fmt: skip


@pytest.mark.parametrize("kind", ["MVTecAD", "Visa", "Folder"])
def test_every_kind_of_datamodule_keeps_its_real_test_data(kind, demo_data, tmp_path):
    from defect_synth.augment.adapters.anomalib import DefectSynthDataModule

    plain = bases(kind, demo_data, tmp_path / "plain")
    plain.val_split_mode = "none"
    plain.setup()
    base = bases(kind, demo_data, tmp_path / "ours")
    ours = DefectSynthDataModule(base, split="val", ratio=0.5, folder=str(tmp_path / "painted"))
    ours.setup()

    def contents(data):
        rows = data.samples
        return [
            (int(label), *(hashlib.sha256(Path(f).read_bytes()).hexdigest() for f in (image, mask) if f))
            for image, mask, label in zip(rows.image_path, rows.mask_path.fillna(""), rows.label_index, strict=True)
        ]

    assert contents(ours.test_data) == contents(plain.test_data)
    assert (ours.val_data.samples.label_index == 1).sum() == (ours.val_data.samples.label_index == 0).sum() >= 2
    item = next(ours.val_data[i] for i in range(len(ours.val_data)) if ours.val_data[i].gt_label)
    assert item.gt_mask.any()
    assert next(iter(ours.val_dataloader())).image.shape[0] == 2


def test_the_snippets_of_the_documentation_run(demo_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(demo_data)
    (tmp_path / "dtd").mkdir()
    names: dict[str, object] = {}
    snippets = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert len(snippets) >= 3
    for snippet in snippets:
        exec(compile(snippet, str(DOCS), "exec"), names)


def test_the_documentation_quotes_the_measured_table():
    measured = Path(__file__).parents[1] / "benchmarks" / "results" / "anomalib_threshold.md"
    rows = [line for line in measured.read_text("utf-8").splitlines() if line.startswith("| ours")]
    text = DOCS.read_text("utf-8")
    assert rows
    for row in rows:
        assert row.split("|")[2].strip() in text


def test_numbers_of_the_threshold_benchmark_are_complete():
    import json

    results = json.loads(
        (Path(__file__).parents[1] / "benchmarks" / "results" / "anomalib_threshold.json").read_text("utf-8")
    )
    assert {"anomalib", "torch", "date", "backbone", "seeds"} <= set(results["about"])
    for product in results["products"].values():
        for row in (*product["f1"].values(), *product["difference"].values()):
            assert row["low"] <= row["value"] <= row["high"]
        assert np.allclose(
            product["f1"]["ours"]["value"] - product["f1"]["perlin"]["value"],
            product["difference"]["ours - perlin"]["value"], atol=2e-4,
        )  # fmt: skip
