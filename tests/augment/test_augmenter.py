"""What is promised to whoever paints on an image of theirs."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from defect_synth.augment import DefectAugmenter
from defect_synth.augment.adapters.torchvision import DefectPaint
from defect_synth.compositor.bank import bank_from_samples
from defect_synth.compositor.real_source import RealSource
from defect_synth.demo.hazelnut import render
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.samples import DefectSample, Provenance

SIDE = 64
ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "defect_synth" / "demo" / "models" / "demo_painter.safetensors"
BOTTLE = ROOT.parent / "shared" / "data" / "mvtec_bottle"


def product(seed, size=(SIDE, SIDE)):
    """A bright disc with a stripe, always in the same pose, on a dark ground."""
    height, width = size
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 30, np.float32)
    radius = min(size) * 0.4
    cv2.circle(image, (width // 2, height // 2), round(radius), (190, 170, 150), -1)
    cv2.rectangle(image, (width // 2, round(height / 2 - radius / 2)), (width // 2 + round(radius * 0.6), height // 2),
                  (120, 120, 160), -1)  # fmt: skip
    return np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def on_disc(size=(SIDE, SIDE)):
    disc = np.zeros(size, np.uint8)
    cv2.circle(disc, (size[1] // 2, size[0] // 2), round(min(size) * 0.4), 1, -1)
    return disc > 0


def recorded(pairs=True):
    samples = []
    for k in range(8):
        defect = ("scratch", "spot")[k % 2]
        clean = product([9, k])
        mask = np.zeros((SIDE, SIDE), np.uint8)
        if defect == "spot":
            cv2.circle(mask, (24 + k, 40), 5, 1, -1)
        else:
            cv2.line(mask, (22, 36 + k), (36, 44), 1, 2)
        image = np.where(mask[..., None] > 0, np.uint8((20, 10, 10)), clean)
        samples.append(
            DefectSample(image, mask, defect, Provenance("fake", "disc", defect, k), clean if pairs else None)
        )
    return bank_from_samples("disc", samples, "discs")


@pytest.fixture(scope="module")
def augmenter():
    return DefectAugmenter(recorded())


class Painter:
    """Paints a block that is half as bright, wherever the foreground begins."""

    category, defects, digest = "disc", ("block",), "painter"

    def propose_mask(self, defect, foreground, seed, image=None):
        rows, columns = np.nonzero(foreground)
        k = seed % len(rows)
        mask = np.zeros(foreground.shape, np.uint8)
        mask[rows[k] : rows[k] + 8, columns[k] : columns[k] + 8] = 1
        return mask & foreground.astype(np.uint8)

    def paint(self, image, mask, defect, seed):
        return np.where(mask[..., None] > 0, image // 2, image)


def kinds_of_images():
    rgb = product(1, (70, 90))
    return {
        "rgb": rgb, "grey": rgb[..., 0].copy(), "grey with an axis": rgb[..., :1].copy(),
        "float": rgb.astype(np.float32) / 255, "float grey": rgb[..., 0].astype(np.float32) / 255, "double": rgb / 255,
    }  # fmt: skip


@pytest.mark.parametrize("kind", kinds_of_images())
@pytest.mark.parametrize("source", ["bank", "painter"])
def test_mask_and_change_are_one_in_every_kind_of_image(augmenter, kind, source):
    paint = augmenter if source == "bank" else DefectAugmenter(Painter())
    image = kinds_of_images()[kind]
    before = image.copy()
    for k in range(6):
        painted = paint.apply(image, np.random.default_rng(k))
        assert (painted.image.dtype, painted.image.shape) == (image.dtype, image.shape)
        different = (painted.image != image).reshape(*image.shape[:2], -1).any(axis=2)
        assert np.array_equal(different, painted.mask > 0)
        assert painted.mask.any()
        assert painted.defect != "good"
    assert np.array_equal(image, before)


@pytest.mark.parametrize("pairs", [True, False])
def test_nothing_outside_the_mask_changes_over_many_draws(pairs):
    paint = DefectAugmenter(recorded(pairs), severity=(0.0, 1.5), scale=(0.5, 2), count=(0, 3))
    agreement, kinds = [], set()
    for k in range(150):
        image = product(k, (64 + k % 9, 80 - k % 7))
        sample = paint(image, np.random.default_rng(k))
        different = (sample.image != image).any(axis=2)
        assert not different[sample.mask == 0].any()
        assert (sample.defect == "good") == (not sample.mask.any())
        kinds.add(sample.defect)
        if sample.mask.any():
            agreement.append(different[sample.mask > 0].mean())
    assert np.mean(agreement) > 0.95
    assert kinds == {"good", "scratch", "spot", "combined"}


@pytest.mark.parametrize("settings", [{"severity": 0}, {"count": 0}])
def test_nothing_asked_for_is_the_input_itself(settings):
    image = product(0)
    sample = DefectAugmenter(recorded(), **settings)(image, np.random.default_rng(0))
    assert np.array_equal(sample.image, image)
    assert not sample.mask.any()
    assert sample.defect == "good"


def test_a_defect_that_cannot_be_seen_leaves_the_image_good():
    sample = DefectAugmenter(recorded())(np.full((64, 64, 3), 0, np.uint8), np.random.default_rng(0))
    assert sample.defect == "good"
    assert not sample.mask.any()
    assert not sample.image.any()


def test_equal_generators_paint_equal_and_other_ones_do_not(augmenter):
    image = product(0)
    one, two, other = (augmenter(image, np.random.default_rng(s)) for s in (3, 3, 4))
    fresh = pickle.loads(pickle.dumps(augmenter))(image, np.random.default_rng(3))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.image, fresh.image)
    assert not np.array_equal(one.image, other.image)


def test_the_change_grows_with_severity(augmenter):
    image, changes = product(0), []
    for severity in (0.3, 0.7, 1.0, 1.3):
        sample = augmenter.apply(image, np.random.default_rng(5), defects=["spot"], severity=severity)
        changes.append(float(np.abs(sample.image.astype(float) - image).sum()))
    assert changes == sorted(changes)
    assert changes[-1] > 2 * changes[0] > 0


def test_fixed_poses_keep_the_recorded_place_at_any_size(augmenter):
    for side in (64, 150):
        total = np.zeros((side, side))
        for k in range(12):
            total += augmenter.apply(product(k, (side, side)), np.random.default_rng(k), defects=["spot"]).mask
        rows, columns = np.nonzero(total)
        assert rows.mean() / side == pytest.approx(40 / SIDE, abs=0.05)
        assert columns.mean() / side == pytest.approx(28 / SIDE, abs=0.06)


def test_the_object_may_lie_elsewhere_and_be_smaller(augmenter):
    image = np.full((160, 160, 3), 30, np.uint8)
    image[90:154, 4:68] = product(3)
    aligned = DefectAugmenter(recorded(), placement="aligned")
    mask = aligned.apply(image, np.random.default_rng(0), defects=["spot"]).mask
    rows, columns = np.nonzero(mask)
    assert rows.mean() == pytest.approx(90 + 40, abs=4)
    assert columns.mean() == pytest.approx(4 + 28, abs=6)
    assert np.ptp(rows) < 16


def test_defects_stay_on_the_object_wherever_it_is():
    paint = DefectAugmenter(recorded(), placement="object")
    image = np.full((100, 200, 3), 30, np.uint8)
    image[30:94, 120:184] = product(2)
    where = np.zeros((100, 200), bool)
    where[30:94, 120:184] = cv2.dilate(on_disc().astype(np.uint8), np.ones((5, 5))) > 0
    for k in range(15):
        mask = paint(image, np.random.default_rng(k)).mask
        assert not mask[~where].any()


def test_region_foreground_and_point_say_where(augmenter):
    image = product(0)
    region = np.zeros((SIDE, SIDE), bool)
    region[20:44, 20:44] = True
    anywhere = DefectAugmenter(recorded(), placement="object")
    fixed = DefectAugmenter(recorded(), placement="object", region=region)
    for k in range(8):
        for mask in (
            anywhere(image, np.random.default_rng(k), region=region).mask,
            anywhere(image, np.random.default_rng(k), foreground=region).mask,
            fixed(image, np.random.default_rng(k)).mask,
        ):
            assert not mask[~region].any()
    spot = augmenter.apply(image, np.random.default_rng(0), defects=["spot"], at=(36.0, 50.0)).mask
    assert [round(float(v.mean())) for v in np.nonzero(spot)] == pytest.approx([50, 36], abs=2)


def test_a_drawn_mask_is_painted_and_nothing_else(augmenter):
    image = product(0)
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(drawn, (30, 36), (14, 5), 30, 0, 360, 1, -1)
    for paint in (augmenter, DefectAugmenter(Painter())):
        sample = paint(image, np.random.default_rng(1), mask=drawn)
        assert not sample.mask[drawn == 0].any()
        assert sample.mask.sum() > 0.8 * drawn.sum()


@pytest.mark.parametrize("size", [(64, 64), (16, 40), (700, 300)])
def test_any_size_and_aspect_is_painted(augmenter, size):
    sample = DefectAugmenter(recorded(), placement="object")(product(1, size), np.random.default_rng(2))
    assert sample.image.shape == (*size, 3)
    assert sample.mask.any()


def test_near_looking_records_are_preferred():
    samples = []
    for k in range(10):
        clean = np.full((SIDE, SIDE, 3), 60 if k < 5 else 200, np.uint8)
        image = clean.copy()
        image[20:30, 20:30] = 128
        mask = (image != clean).any(axis=2).astype(np.uint8)
        samples.append(DefectSample(image, mask, "d", Provenance("fake", "c", "d", k), clean))
    paint = DefectAugmenter(bank_from_samples("c", samples))
    bright = np.full((SIDE, SIDE, 3), 195, np.uint8)
    entries = [paint.apply(bright, np.random.default_rng(k)).parameters["entry"] for k in range(30)]
    assert np.mean(np.array(entries) >= 5) > 0.8


def test_the_sample_knows_where_it_came_from(augmenter):
    image = product(0)
    sample = augmenter(image, np.random.default_rng(0))
    assert sample.clean is image
    assert (sample.provenance.method, sample.provenance.checkpoint) == ("painted", "discs")
    assert sample.provenance.parameters["entry"] in range(8)


def test_memory_and_time_do_not_grow_with_the_images_that_were_seen(augmenter):
    small = pickle.dumps(DefectAugmenter(recorded()))
    for k in range(20):
        augmenter(product(k), np.random.default_rng(k))
    assert len(pickle.dumps(augmenter)) < 1.5 * len(small)


def test_the_torch_form_keeps_types_and_follows_torchs_generator(augmenter):
    paint = DefectPaint(augmenter, p=1)
    image = torch.from_numpy(product(0)).permute(2, 0, 1).contiguous()
    for given in (image, image.float() / 255):
        torch.manual_seed(0)
        out, mask = paint(given, torch.zeros(SIDE, SIDE, dtype=torch.uint8))
        torch.manual_seed(0)
        again, _ = paint(given, torch.zeros(1, SIDE, SIDE, dtype=torch.bool))
        assert out.dtype == given.dtype
        assert torch.equal(out, again)
        assert torch.equal((out != given).any(dim=0), mask > 0)
        assert mask.any()
    array, marked = paint(product(0), np.zeros((SIDE, SIDE), np.uint8))
    assert np.array_equal((array != product(0)).any(axis=2), marked > 0)
    same, _ = DefectPaint(augmenter, p=0)(image, mask)
    assert same is image


MISTAKES = {
    "unknown defect": (lambda: DefectAugmenter(recorded(), defects=["holes"]), UnknownDefectError, "scratch, spot"),
    "text for defects": (lambda: DefectAugmenter(recorded(), defects="spot"), ConfigError, r"write \['spot'\]"),
    "no defects": (lambda: DefectAugmenter(recorded(), defects=[]), ConfigError, "defects is empty"),
    "severity": (lambda: DefectAugmenter(recorded(), severity=1.6), ConfigError, "between 0 and 1.5"),
    "severity is NaN": (lambda: DefectAugmenter(recorded(), severity=float("nan")), ConfigError, "severity"),
    "severity as text": (lambda: DefectAugmenter(recorded(), severity="hi"), ConfigError, "number or a range"),
    "scale reversed": (lambda: DefectAugmenter(recorded(), scale=(2, 1)), ConfigError, "low, high"),
    "half a defect": (lambda: DefectAugmenter(recorded(), count=1.5), ConfigError, "whole numbers"),
    "negative count": (lambda: DefectAugmenter(recorded(), count=-1), ConfigError, "count must be between 0"),
    "placement": (lambda: DefectAugmenter(recorded(), placement="top"), ConfigError, "auto, aligned, object, anywhere"),
    "mode": (lambda: DefectAugmenter(recorded(), mode="blend"), ConfigError, "residual, replace, poisson"),
    "empty region": (lambda: DefectAugmenter(recorded(), region=np.zeros((4, 4))), DataError, "region is empty"),
    "no source": (lambda: DefectAugmenter(7), ConfigError, "got int"),
    "p": (lambda: DefectPaint(DefectAugmenter(recorded()), p=2), ConfigError, "between 0 and 1"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_setting_gives_one_line(mistake):
    make, error, words = MISTAKES[mistake]
    with pytest.raises(error, match=words) as raised:
        make()
    assert "\n" not in str(raised.value)


def odd(value, dtype=np.float32):
    image = np.full((32, 32, 3), 0.5, dtype)
    image[3, 4] = value
    return image


BAD_IMAGES = {
    "NaN": ({"image": odd(np.nan)}, "NaN"),
    "infinite": ({"image": odd(np.inf)}, "NaN or infinite"),
    "above 1": ({"image": odd(1.5)}, "expected float images in"),
    "normalised": ({"image": odd(-2.0)}, "before any normalisation"),
    "16 bit": ({"image": np.zeros((32, 32), np.uint16)}, "got uint16"),
    "alpha": ({"image": np.zeros((32, 32, 4), np.uint8)}, "drop alpha"),
    "tiny": ({"image": np.zeros((8, 32), np.uint8)}, "at least 16 pixels"),
    "a list": ({"image": [[0]]}, "NumPy array, got list"),
    "mask of another size": ({"mask": np.ones((9, 9), np.uint8)}, r"mask is \[9, 9\], the image is"),
    "empty mask": ({"mask": np.zeros((64, 64), np.uint8)}, "mask is empty"),
    "mask with an axis": ({"mask": np.ones((64, 64, 1), np.uint8)}, r"mask must be an array \[H, W\]"),
    "foreground of another size": ({"foreground": np.ones((9, 9), bool)}, "give it at the same size"),
    "empty foreground": ({"foreground": np.zeros((64, 64), bool)}, "foreground is empty"),
    "empty region": ({"region": np.zeros((64, 64), bool)}, "region is empty"),
    "point outside": ({"at": (64.0, 3.0)}, "outside the image of 64x64"),
}


@pytest.mark.parametrize("mistake", BAD_IMAGES)
def test_an_image_that_cannot_be_painted_gives_one_line(augmenter, mistake):
    given, words = BAD_IMAGES[mistake]
    with pytest.raises(DataError, match=words) as raised:
        augmenter.apply(**{"image": product(0), "rng": np.random.default_rng(0), **given})
    assert "\n" not in str(raised.value)


def test_the_plain_call_takes_rgb_only(augmenter):
    with pytest.raises(DataError, match="use apply"):
        augmenter(np.zeros((32, 32), np.uint8), np.random.default_rng(0))


class Brush:
    """Paints the mask `level` grey levels darker; proposes a square in the middle of the area."""

    category, defects, digest = "part", ("spot",), "painter"

    def __init__(self, level):
        self.level = level

    def propose_mask(self, defect, foreground, seed, image=None):
        y, x = (int(v.mean()) for v in np.nonzero(foreground))
        mask = np.zeros(foreground.shape, np.uint8)
        mask[y - 8 : y + 8, x - 8 : x + 8] = 1
        return mask & foreground.astype(np.uint8)

    def paint(self, image, mask, defect, seed):
        return np.where(mask[..., None] > 0, image - np.uint8(self.level), image)


def plain(side=128):
    return np.full((side, side, 3), 120, np.uint8)


def test_a_painters_defect_has_the_size_asked_for():
    areas = {}
    for scale in (0.5, 1.0, 2.0):
        sample = DefectAugmenter(Brush(60), scale=scale)(plain(), np.random.default_rng(0))
        areas[scale] = int(sample.mask.sum())
    assert areas[1.0] == 256
    assert areas[0.5] == pytest.approx(64, rel=0.2)
    assert areas[2.0] == pytest.approx(1024, rel=0.1)


def test_what_a_painter_paints_too_faintly_is_no_defect():
    sample = DefectAugmenter(Brush(3))(plain(), np.random.default_rng(0))
    assert sample.defect == "good"
    assert not sample.mask.any()
    np.testing.assert_array_equal(sample.image, plain())


def test_a_painter_keeps_to_the_region_also_at_a_given_point():
    region = np.zeros((128, 128), bool)
    region[:40, :40] = True
    augmenter = DefectAugmenter(Brush(60))
    for at in (None, (38, 38)):
        mask = augmenter(plain(), np.random.default_rng(0), region=region, at=at).mask
        assert mask.any()
        assert not mask[~region].any()


def test_the_shipped_painter_paints_online_in_any_number_of_workers():
    from torch.utils.data import DataLoader

    class Set:
        def __init__(self):
            self.augmenter = DefectAugmenter("demo")

        def __len__(self):
            return 3

        def __getitem__(self, i):
            sample = self.augmenter(render(50 + i, 96).image, np.random.default_rng(i))
            return sample.image, sample.mask, sample.defect

    runs = [list(DataLoader(Set(), batch_size=None, num_workers=n)) for n in (0, 2)]
    for one, two in zip(*runs, strict=True):
        assert one[2] == two[2]
        np.testing.assert_array_equal(np.asarray(one[0]), np.asarray(two[0]))
        np.testing.assert_array_equal(np.asarray(one[1]), np.asarray(two[1]))
    assert any(np.asarray(item[1]).any() for item in runs[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "poisson"}, "mode='poisson'"),
        ({"mirror": False}, "mirror=False"),
        ({"placement": "aligned"}, "aligned"),
    ],
)
def test_what_a_painter_cannot_obey_is_refused_in_one_line(settings, words):
    with pytest.raises(ConfigError, match=words) as raised:
        DefectAugmenter(Brush(60), **settings)
    assert "\n" not in str(raised.value)


def test_a_painters_drawn_mask_is_cut_to_the_region_as_a_banks_is():
    drawn = np.zeros((128, 128), np.uint8)
    drawn[40:80, 40:80] = 1
    region = np.zeros((128, 128), bool)
    region[:, :60] = True
    mask = DefectAugmenter(Brush(60), region=region)(plain(), np.random.default_rng(0), mask=drawn).mask
    assert np.array_equal(mask > 0, (drawn > 0) & region)


def test_a_painters_severity_scales_the_change_and_zero_is_the_input():
    levels = {s: DefectAugmenter(Brush(40), severity=s)(plain(), np.random.default_rng(0)) for s in (0.0, 0.5, 1.5)}
    assert levels[0.0].image.tobytes() == plain().tobytes()
    assert levels[0.0].defect == "good"
    for severity in (0.5, 1.5):
        sample = levels[severity]
        assert (plain()[sample.mask > 0].astype(int) - sample.image[sample.mask > 0] == 40 * severity).all()


class IntendedMask:
    """Records the intended mask of the last defect: that of the pasted defect, or the one given to the painter."""

    def __init__(self, monkeypatch):
        from defect_synth.augment import paint_inserter
        from defect_synth.compositor import paste as module

        transferred, paint_patch = module._transferred, paint_inserter.paint_patch

        def paste(image, place, defect, clean, soft, inside, *rest, **named):
            self.mask = np.zeros(image.shape[:2], bool)
            self.mask[place[0] : place[2], place[1] : place[3]] = soft * inside > 0.5
            return transferred(image, place, defect, clean, soft, inside, *rest, **named)

        def paint(painter, image, mask, *rest):
            self.mask = mask > 0
            return paint_patch(painter, image, mask, *rest)

        monkeypatch.setattr(module, "_transferred", paste)
        monkeypatch.setattr(paint_inserter, "paint_patch", paint)


def agreement_over(augmenter, images, draws, intended):
    """Mean IoU of the returned mask with the intended one; asserts what must hold for each draw."""
    found = []
    for k in range(draws):
        image = images[k % len(images)]
        sample = augmenter(image, np.random.default_rng(k))
        changed = (sample.image != image).any(axis=2)
        assert np.array_equal(changed, sample.mask > 0)
        assert bool(sample.mask.any()) == (sample.defect != "good")
        if sample.mask.any():
            found.append((changed & intended.mask).sum() / (changed | intended.mask).sum())
    assert len(found) > 0.9 * draws
    return float(np.mean(found))


def test_the_mask_agrees_with_the_intended_one_on_the_demo_product(monkeypatch):
    images = [render(50 + k, 160).image for k in range(6)]
    assert agreement_over(DefectAugmenter("demo-bank"), images, 40, IntendedMask(monkeypatch)) >= 0.9


def test_a_painters_mask_agrees_with_the_intended_one(monkeypatch):
    images = [render(50 + k, 96).image for k in range(4)]
    assert agreement_over(DefectAugmenter(str(SHIPPED)), images, 12, IntendedMask(monkeypatch)) >= 0.9


@pytest.mark.skipif(not BOTTLE.is_dir(), reason="../shared/data/mvtec_bottle is absent")
def test_the_mask_agrees_with_the_intended_one_on_real_bottles(monkeypatch):
    files = sorted((BOTTLE / "test" / "good").glob("*.png"))
    images = [np.ascontiguousarray(cv2.imread(str(file))[..., ::-1]) for file in files]
    augmenter = DefectAugmenter(RealSource.open(BOTTLE))
    assert agreement_over(augmenter, images, 120, IntendedMask(monkeypatch)) >= 0.9


def test_a_mask_and_a_place_contradict_each_other():
    image = np.full((64, 64, 3), 180, np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 20:30] = 1
    with pytest.raises(ConfigError, match="a mask says where the defect is, so it cannot be combined with at"):
        DefectAugmenter("demo").apply(image, np.random.default_rng(0), mask=mask, at=(30, 30))
