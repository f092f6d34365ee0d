"""anomalib runs for real, on a dozen small pictures, offline."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.errors import ConfigError, DataError
from defect_synth.export.generated_folder import generate
from defect_synth.nn.torchvision_import import ensure_torchvision
from tests.fake_painter import SIDE, FakePainter

ensure_torchvision()
pytest.importorskip("anomalib.data", reason="needs the anomalib extra", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # anomalib's and lightning's own


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    for part, count in (("train/good", 10), ("test/good", 4), ("test/hole", 4)):
        for k in range(count):
            image = np.clip(180 + rng.normal(0, 4, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            (root / part).mkdir(parents=True, exist_ok=True)
            if part == "test/hole":
                image[10:20, 10:20] = 0
                mask = np.zeros((SIDE, SIDE), np.uint8)
                mask[10:20, 10:20] = 255
                (root / "ground_truth/hole").mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / f"ground_truth/hole/{k:03d}_mask.png"), mask)
            cv2.imwrite(str(root / part / f"{k:03d}.png"), image)
    return root


def folder(data, mode="same_as_test"):
    from anomalib.data import Folder

    return Folder(
        name="parts", root=data, normal_dir="train/good", abnormal_dir="test/hole", normal_test_dir="test/good",
        mask_dir="ground_truth/hole", train_batch_size=4, eval_batch_size=4, num_workers=0,
        val_split_mode=mode, seed=0,
    )  # fmt: skip


def module(data, tmp_path, **settings):
    from defect_synth.augment.adapters.anomalib import DefectSynthDataModule

    return DefectSynthDataModule(
        settings.pop("base", None) or folder(data), settings.pop("source", FakePainter()),
        folder=str(tmp_path / "painted"), **settings,
    )  # fmt: skip


def test_real_test_images_are_the_same_with_and_without_us(data, tmp_path):
    plain = folder(data)
    plain.setup()
    for split in ("train", "val"):
        ours = module(data, tmp_path / split, split=split, ratio=0.5)
        ours.setup()
        assert list(ours.test_data.samples.image_path) == list(plain.test_data.samples.image_path)
        before, after = plain.test_data[0], ours.test_data[0]
        assert (before.image == after.image).all()


@pytest.mark.parametrize("mode", ["from_test", "same_as_test", "from_train", "none"])
def test_no_real_test_image_is_lost_to_a_validation_split_of_the_base(data, tmp_path, mode):
    ours = module(data, tmp_path, base=folder(data, mode))
    ours.setup()
    assert len(ours.test_data) == 8
    assert len(ours.train_data) + (ours.val_data.samples.label_index == 0).sum() == 10


def test_painted_files_of_another_severity_or_source_are_not_mistaken_for_ours(data, tmp_path):
    for severity in (1.0, 0.8):
        module(data, tmp_path, severity=severity, source="demo").setup()
    folders = [path for path in (tmp_path / "painted").iterdir() if path.is_dir()]
    assert len(folders) == 2


def test_validation_is_normal_images_taken_from_train_and_as_many_with_defects(data, tmp_path):
    ours = module(data, tmp_path, ratio=0.4)
    ours.setup()
    labels = ours.val_data.samples.label_index.to_numpy()
    assert (labels == 0).sum() == 4
    assert (labels == 1).sum() == 4
    assert len(ours.train_data) == 6
    assert not set(ours.val_data.samples.image_path) & set(ours.train_data.samples.image_path)
    for i in range(len(ours.val_data)):
        item = ours.val_data[i]
        assert bool(item.gt_mask.any()) == bool(item.gt_label)


def test_painted_files_are_the_same_bytes_for_the_same_seed_and_others_for_another(data, tmp_path):
    def painted(name, seed):
        ours = module(data, tmp_path / name, ratio=0.3, seed=seed)
        ours.setup()
        return [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.png"))]

    assert painted("a", 1) == painted("b", 1)
    assert painted("a", 1) != painted("c", 2)


def test_a_generated_folder_is_used_in_place(data, tmp_path):
    generate(FakePainter(), tmp_path / "synthetic", count=3)
    ours = module(data, tmp_path, source=str(tmp_path / "synthetic"), split="train", ratio=0.4)
    ours.setup()
    rows = ours.train_data.samples
    added = rows[rows.label_index == 1]
    assert len(added) == 4
    assert all(str(tmp_path / "synthetic") in path for path in added.image_path)
    assert not (tmp_path / "painted").exists()


def test_a_one_class_model_refuses_a_poisoned_train_split(data, tmp_path):
    from anomalib.engine import Engine
    from anomalib.models import Padim

    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path, barebones=False)
    with pytest.raises(ConfigError, match=r"Padim learns from normal images only.*split='val'"):
        engine.fit(Padim(backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=8),
                   datamodule=module(data, tmp_path, split="train"))  # fmt: skip


def test_the_refusal_sees_through_a_second_wrapper(data, tmp_path):
    from anomalib.engine import Engine
    from anomalib.models import Padim

    poisoned = module(data, tmp_path, base=module(data, tmp_path, split="train"), split="val")
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path)
    with pytest.raises(ConfigError, match="Padim learns from normal images only"):
        engine.fit(Padim(backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=8), datamodule=poisoned)


def test_two_wrappers_paint_train_and_validation_and_leave_test_alone(data, tmp_path):
    ours = module(data, tmp_path, base=module(data, tmp_path, split="val", ratio=0.4), split="train", ratio=0.5)
    ours.setup()
    counts = [(d.samples.label_index == 1).sum() for d in (ours.train_data, ours.val_data, ours.test_data)]
    assert counts == [3, 4, 4]
    assert [len(d.samples) for d in (ours.train_data, ours.val_data, ours.test_data)] == [6 + 3, 4 + 4, 8]


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("from_train", "the validation set of parts has no defects"),
        ("none", "parts has no validation set"),
        ("same_as_test", None),
    ],
)
def test_training_on_defects_without_any_in_validation_is_said(data, tmp_path, caplog, mode, words, online):
    module(data, tmp_path, base=folder(data, mode), split="train", ratio=0.5, online=online).setup()
    said = _warnings(caplog)
    assert len(said) == (words is not None)
    if words is not None:
        assert said[0].startswith(words)
        assert "split='val'), split='train')" in said[0]


def _warnings(caplog):
    name = "defect_synth.augment.adapters.anomalib"
    return [r.getMessage() for r in caplog.records if r.name == name and r.levelname == "WARNING"]


@pytest.mark.parametrize(("category", "warned"), [("bottle", True), ("Part", False), ("", False)])
def test_defects_of_another_category_are_said(data, tmp_path, caplog, category, warned):
    base = folder(data)
    base.category = category
    module(data, tmp_path, base=base, ratio=0.2).setup()
    said = _warnings(caplog)
    assert len(said) == warned
    if warned:
        assert said[0].startswith(
            "the source FakePainter makes defects of part, the images are of bottle: give one made for them"
        )


def test_a_second_wrapper_for_validation_needs_no_warning(data, tmp_path, caplog):
    module(data, tmp_path, base=module(data, tmp_path, split="val", ratio=0.4), split="train", ratio=0.5).setup()
    assert not _warnings(caplog)


@pytest.mark.parametrize(
    ("inner", "outer", "message"),
    [
        ({"split": "train", "online": True}, {"split": "val"}, "online painting must be the outermost"),
        ({"split": "val"}, {"split": "val"}, "split 'val' has synthetic defects already"),
    ],
)
def test_wrappers_in_an_order_that_would_lose_defects_are_refused(data, tmp_path, inner, outer, message):
    with pytest.raises(ConfigError, match=message):
        module(data, tmp_path, base=module(data, tmp_path, **inner), **outer)


def test_a_threshold_is_fitted_on_our_validation_set(data, tmp_path):
    from anomalib.engine import Engine
    from anomalib.models import Padim

    model = Padim(backbone="resnet18", layers=["layer1"], pre_trained=False, n_features=8)
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path,
                    enable_progress_bar=False)  # fmt: skip
    ours = module(data, tmp_path, ratio=0.4)
    engine.fit(model, datamodule=ours)
    figures = engine.test(model, datamodule=ours, verbose=False)[0]
    assert 0 <= figures["image_F1Score"] <= 1
    assert np.isfinite(float(model.post_processor.image_threshold))


@pytest.mark.parametrize("online", [False, True])
def test_a_supervised_model_trains_on_our_labels_and_masks(data, tmp_path, online):
    import timm
    from anomalib.engine import Engine
    from anomalib.models import Supersimplenet

    seen = []

    class Watched(Supersimplenet):
        def training_step(self, batch, *args, **kwargs):
            seen.append((batch.gt_label.clone(), batch.gt_mask.clone()))
            return super().training_step(batch, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backbone = timm.create_model("resnet18", pretrained=False)
        model = Watched(backbone=backbone, layers=["layer2", "layer3"], supervised=True,
                        pre_processor=Supersimplenet.configure_pre_processor((128, 128)))  # fmt: skip
    engine = Engine(accelerator="cpu", devices=1, logger=False, default_root_dir=tmp_path, max_epochs=1,
                    limit_train_batches=2, limit_val_batches=0, enable_progress_bar=False)  # fmt: skip
    engine.fit(model, datamodule=module(data, tmp_path, split="train", ratio=1.0, online=online, probability=0.7))
    labels = np.concatenate([label.numpy().astype(int) for label, _ in seen])
    masks = np.concatenate([mask.numpy().reshape(len(mask), -1).any(axis=1) for _, mask in seen])
    assert labels.any()
    assert (labels == masks).all()


def test_base_and_source_can_be_plain_values(data, tmp_path):
    """What `anomalib train --config` does with our class path."""
    from anomalib.data import AnomalibDataModule
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_subclass_arguments(AnomalibDataModule, "data", fail_untyped=False)
    base = {"class_path": "anomalib.data.Folder",
            "init_args": {"name": "parts", "root": str(data), "normal_dir": "train/good"}}  # fmt: skip
    config = {"class_path": "defect_synth.DefectSynthDataModule",
              "init_args": {"base": base, "source": "demo", "split": "val", "ratio": 0.3}}  # fmt: skip
    made = parser.instantiate_classes(parser.parse_object({"data": config})).data
    assert type(made).__name__ == "DefectSynthDataModule"
    assert made.base.name == "parts"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "training"}, "split must be train, val or test"),
        ({"split": "val", "online": True}, "online painting is for split 'train'"),
        ({"split": "val", "ratio": 1.0}, "ratio must be above 0 and below 1"),
        ({"split": "test", "ratio": 0.0}, "ratio must be above 0, got"),
        ({"split": "train", "online": True, "probability": 1.5}, "probability must be between 0 and 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(data, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        module(data, tmp_path, **settings)


def test_online_with_a_generated_folder_is_refused(data, tmp_path):
    generate(FakePainter(), tmp_path / "synthetic", count=1)
    with pytest.raises(ConfigError, match="holds finished images"):
        module(data, tmp_path, source=Path(tmp_path / "synthetic"), split="train", online=True)


@pytest.mark.parametrize("kind", ["demo", "demo-dfmgan", "demo-bank", "bank", "real bank", "generated folder"])
def test_every_kind_of_source_makes_a_validation_set(data, tmp_path, kind):
    from defect_synth.compositor.bank import build_bank
    from defect_synth.compositor.real_source import RealSource
    from defect_synth.demo.hazelnut import DemoSource

    source = kind
    if kind == "bank":
        build_bank(DemoSource(64), tmp_path / "bank", count=2, defects=["hole"])
        source = tmp_path / "bank"
    elif kind == "real bank":
        build_bank(RealSource.open(data, None, SIDE), tmp_path / "bank", count=3)
        source = str(tmp_path / "bank")
    elif kind == "generated folder":
        source = generate(FakePainter(), tmp_path / "made", count=3)
    ours = module(data, tmp_path, source=source, ratio=0.5)
    ours.setup()
    assert (ours.val_data.samples.label_index == 1).sum() >= 1


def kinds_of_files():
    """Normal images of one kind of file each: (suffix, how to save an image uint8 [H, W, 3] there)."""
    grey = lambda image: image.mean(axis=2).astype(np.uint8)  # noqa: E731
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    return {
        "16-bit grey": (".png", lambda i, p: Image.fromarray(grey(i).astype(np.uint16) * 257).save(p)),
        "turned by EXIF": (".jpg", lambda i, p: Image.fromarray(i[:40]).save(p, exif=exif, quality=95)),
        "CMYK": (".jpg", lambda i, p: Image.fromarray(i).convert("CMYK").save(p, quality=95)),
        "palette": (".png", lambda i, p: Image.fromarray(i).quantize(32).save(p)),
        "grey": (".png", lambda i, p: Image.fromarray(grey(i)).save(p)),
        "with alpha": (
            ".png",
            lambda i, p: Image.fromarray(np.dstack([i, np.full(i.shape[:2], 99, np.uint8)])).save(p),
        ),
    }


def tree_of(root, layout, kind):
    """A small tree of one of anomalib's layouts, whose normal images are of one kind of file, and its datamodule."""
    from anomalib import data as anomalib_data

    suffix, save = kinds_of_files()[kind]
    good, bad = ("ok", "ko") if layout == "BTech" else ("good", "hole")
    home = root / {"MVTecAD": "bottle", "MPDD": "tubes", "BTech": "01", "Folder": ""}[layout]
    rng = np.random.default_rng(0)
    for folder_name, count in ((f"train/{good}", 8), (f"test/{good}", 3), (f"test/{bad}", 3)):
        (home / folder_name).mkdir(parents=True)
        for k in range(count):
            image = np.clip(150 + rng.normal(0, 20, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            save(image, home / folder_name / f"{k:03d}{suffix}")
    (home / "ground_truth" / bad).mkdir(parents=True)
    for k in range(3):
        name = {"BTech": f"{k:03d}.png"}.get(layout, f"{k:03d}_mask.png")
        Image.fromarray(np.full((SIDE, SIDE), 255, np.uint8)).save(home / "ground_truth" / bad / name)
    if layout == "Folder":
        return anomalib_data.Folder(
            "parts", root=home, normal_dir="train/good", abnormal_dir="test/hole", normal_test_dir="test/good",
            mask_dir="ground_truth/hole", num_workers=0, val_split_mode="none", extensions=(".jpg", ".png"),
        )  # fmt: skip
    return getattr(anomalib_data, layout)(root, home.name, num_workers=0, val_split_mode="none")


@pytest.mark.parametrize("layout", ["Folder", "MVTecAD", "MPDD", "BTech"])
@pytest.mark.parametrize("kind", list(kinds_of_files()))
def test_painted_images_are_read_like_the_others_whatever_their_files(tmp_path, layout, kind):
    from anomalib.data.utils import read_image

    if layout != "Folder" and kinds_of_files()[kind][0] != ".png":
        pytest.skip(f"{layout} reads PNG files only")
    base = tree_of(tmp_path / "data", layout, kind)
    ours = module(None, tmp_path, base=base, split="val", ratio=0.5)
    ours.setup()
    normal = [read_image(path) for path in ours.val_data.samples.image_path[ours.val_data.samples.label_index == 0]]
    painted = [ours.val_data[i] for i in np.flatnonzero(ours.val_data.samples.label_index == 1)]
    assert painted
    for item in painted:
        image, outside = item.image.permute(1, 2, 0).numpy(), item.gt_mask.numpy() == 0
        assert image.shape == normal[0].shape
        assert any(np.abs(image - other)[outside].max() < 1e-6 for other in normal)
        assert not any(np.abs(image - other).max() < 1e-6 for other in normal)


def test_defects_for_testing_are_painted_on_test_images_only(data, tmp_path):
    ours = module(data, tmp_path, split="test", ratio=0.5)
    ours.setup()
    frame = ours.test_data.samples
    painted = [Path(p) for p in frame.image_path if "painted" in str(p)]
    assert len(painted) == 5
    originals = [cv2.imread(str(p)) for p in sorted((data / "test/good").glob("*.png"))]
    trained = [cv2.imread(str(p)) for p in sorted((data / "train/good").glob("*.png"))]
    for path in painted:
        image = cv2.imread(str(path))
        same = [(image == other).mean() > 0.5 for other in originals]
        assert any(same)
        assert not any((image == other).mean() > 0.5 for other in trained)


def test_without_normal_test_images_none_are_made_of_training_images(data, tmp_path):
    ours = module(data, tmp_path, split="test")
    ours.base.setup()
    defective = np.flatnonzero(ours.base.test_data.samples.label_index == 1).tolist()
    ours.base.test_data = ours.base.test_data.subsample(defective)
    ours.base.setup = lambda stage=None: None
    with pytest.raises(DataError, match="training images are no test data"):
        ours.setup()
