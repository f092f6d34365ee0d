"""What can be wrong when defects are painted on the user's own images: one clear line, and nothing half-written."""

from __future__ import annotations

import json
import re
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.augment import DefectAugmenter
from defect_synth.cli import main
from defect_synth.compositor.bank import Bank, build_bank
from defect_synth.errors import DefectSynthError
from defect_synth.export.generated_folder import generate
from defect_synth.samples import DefectSample, Provenance

SIDE = 48


class Discs:
    """A bright disc with a dark spot or a dark line: the source of every bank here."""

    category, defects, digest = "disc", ("line", "spot"), "discs"

    def sample(self, defect, seeds):
        made = []
        for seed in seeds:
            clean, mask = picture(seed), np.zeros((SIDE, SIDE), np.uint8)
            if defect == "spot":
                cv2.circle(mask, (24, 20 + seed % 5), 5, 1, -1)
            else:
                cv2.line(mask, (16, 24), (32, 22 + seed % 5), 1, 2)
            image = np.where(mask[..., None] > 0, np.uint8(10), clean)
            made.append(DefectSample(image, mask, defect, Provenance("fake", "disc", defect, seed), clean))
        return made


def picture(seed=0, side=SIDE):
    image = np.full((side, side, 3), 30, np.uint8)
    cv2.circle(image, (side // 2, side // 2), round(0.4 * side), (190, 170, 150), -1)
    return np.clip(image + np.random.default_rng(seed).normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def damaged(root, name, change):
    shutil.copytree(root / "bank", root / name)
    change(root / name)


def edited(**changes):
    def edit(bank):
        index = json.loads((bank / "bank.json").read_text())
        (bank / "bank.json").write_text(json.dumps({**index, **changes}))

    return edit


def cut(name):
    def shorten(bank):
        data = (bank / name).read_bytes()
        (bank / name).write_bytes(data[: len(data) // 2])

    return shorten


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    build_bank(Discs(), root / "bank", count=4)
    damaged(root, "newer", edited(format=99))
    damaged(root, "truncated", cut("images.npy"))
    damaged(root, "half_index", cut("bank.json"))
    damaged(root, "no_masks", lambda bank: (bank / "masks.npy").unlink())
    good = picture()
    Image.fromarray(good).save(root / "part.png")
    (root / "short.png").write_bytes((root / "part.png").read_bytes()[:900])
    Image.fromarray(np.full((SIDE, SIDE), 300, np.uint16)).save(root / "deep.png")
    Image.fromarray(good[..., 0].astype(np.float32) / 255).save(root / "float.tiff")
    Image.fromarray(np.dstack([good, good[..., 0]])).save(root / "alpha.png")
    Image.fromarray(good[:8, :8]).save(root / "tiny.png")
    (root / "nothing.png").touch()
    (root / "text.png").write_text("not a picture")
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(root / "black.png")
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(root / "mask20.png")
    (root / "folder").mkdir()
    (root / "folder" / "thesis.txt").write_text("mine")
    for folder in ("bare/train/good", "bare/test/good", "bare/test/spot"):
        (root / folder).mkdir(parents=True)
        Image.fromarray(good).save(root / folder / "0.png")
    shutil.copytree(root / "bare", root / "nut")
    (root / "nut/ground_truth/spot").mkdir(parents=True)
    Image.fromarray(Discs().sample("spot", [0])[0].mask * np.uint8(255)).save(root / "nut/ground_truth/spot/0_mask.png")
    generate(Discs(), root / "made", count=2)
    return root


PAINT = ("paint", "{w}/part.png", "-o", "{o}/out.png", "--source", "{w}/bank")


def paint(image, *more):
    return ("paint", image, "-o", "{o}/out.png", "--source", "{w}/bank", *more)


def source(name):
    return ("paint", "{w}/part.png", "-o", "{o}/out.png", "--source", name)


COMMANDS = {
    "image that is not there": (paint("{w}/none.png"), "none.png does not exist; give the path of an image"),
    "folder for an image": (paint("{w}/folder"), "folder is a folder; give the path of an image"),
    "text for an image": (paint("{w}/text.png"), "text.png: not an image of 8 or 16 bits"),
    "empty file": (paint("{w}/nothing.png"), "nothing.png: not an image"),
    "image cut short": (paint("{w}/short.png"), "short.png: cannot be read .damaged or cut short."),
    "16-bit image": (paint("{w}/deep.png"), "deep.png has more than 8 bits .*save it with 8 bits"),
    "float image": (paint("{w}/float.tiff"), "float.tiff: floating-point pixels have no defined range"),
    "transparent image": (paint("{w}/alpha.png"), "alpha.png has transparent parts; .*drop alpha"),
    "image of 8 pixels": (paint("{w}/tiny.png"), "at least 16 pixels a side, got 8x8"),
    "unknown defect": ((*PAINT, "--defect", "hole"), "unknown defect 'hole' for disc; known: line, spot"),
    "severity 3": ((*PAINT, "--severity", "3"), "severity must be between 0 and 1.5, got 3"),
    "severity NaN": ((*PAINT, "--severity", "nan"), "severity must be between 0 and 1.5, got nan"),
    "scale 0": ((*PAINT, "--scale", "0"), "scale must be between 0.2 and 4, got 0"),
    "point outside": ((*PAINT, "--at", "48,3"), "at 48,3 is outside the image of 48x48 pixels"),
    "point that is none": ((*PAINT, "--at", "12"), "--at must be x,y in pixels, such as 120,80; got '12'"),
    "point where nothing fits": ((*PAINT, "--at", "0,0"), "no defect of this source fits .* at 0,0; try another"),
    "empty mask": ((*PAINT, "--mask", "{w}/black.png"), "the mask is empty; mark where"),
    "mask of another size": ((*PAINT, "--mask", "{w}/mask20.png"), "mask is 20x20, but its image .* is 48x48"),
    "mask that is not there": ((*PAINT, "--mask", "{w}/none.png"), "none.png: file does not exist"),
    "empty region": ((*PAINT, "--region", "{w}/black.png"), "the region is empty; mark where"),
    "region of another size": ((*PAINT, "--region", "{w}/mask20.png"), "mask is 20x20, but its image"),
    "region not of its image": (
        (*PAINT, "--region", "{w}/mask20.png", "--region-of", "{w}/part.png"),
        "mask is 20x20, but its image .* is 48x48",
    ),
    "region of nothing": (
        (*PAINT, "--region-of", "{w}/part.png"),
        "--region was drawn on, so it needs --region; give both",
    ),
    "region and mask": (
        (*PAINT, "--mask", "{w}/mask20.png", "--region", "{w}/mask20.png"),
        "so --region has no effect; leave it out",
    ),
    "region on a preview": (
        ("preview", "{w}/part.png", "-o", "{o}/out", "--source", "{w}/bank", "--region-of", "{w}/part.png"),
        "--region was drawn on, so it needs --region; give both",
    ),
    "photo for a mask": ((*PAINT, "--mask", "{w}/part.png"), "a photo or a score map, not a mask"),
    "folder for a mask": ((*PAINT, "--mask", "{w}/folder"), "folder: is a folder, expected a file"),
    "JPEG as output": (("paint", "{w}/part.png", "-o", "{o}/out.jpg"), "must end in .png.*got 'out.jpg'"),
    "output below a file": (
        ("paint", "{w}/part.png", "-o", "{w}/text.png/out.png", "--source", "{w}/bank"),
        "a file stands where a folder is needed; choose another --output",
    ),
    "source that is not there": (source("{w}/none"), "none does not exist; expected demo, "),
    "folder of nothing as source": (source("{w}/folder"), "folder"),
    "picture as source": (source("{w}/part.png"), "part.png"),
    "bank of a newer format": (source("{w}/newer"), "has bank format 99, this version reads 2 and 3; upgrade"),
    "bank cut short": (source("{w}/truncated"), "truncated is damaged .*make the bank again"),
    "index cut short": (source("{w}/half_index"), "half_index is damaged .*make the bank again"),
    "bank without masks": (source("{w}/no_masks"), "no_masks is damaged .*make the bank again"),
    "two defects, one unknown": (
        ("preview", "{w}/part.png", "--source", "{w}/bank", "-o", "{o}/p", "--defects", "spot,hole"),
        "unknown defect 'hole' for disc",
    ),
    "preview, second image not there": (
        ("preview", "{w}/part.png", "{w}/none.png", "--source", "{w}/bank", "-o", "{o}/p"),
        "none.png does not exist",
    ),
    "preview into a file": (
        ("preview", "{w}/part.png", "--source", "{w}/bank", "-o", "{w}/text.png"),
        "a file stands where a folder is needed",
    ),
    "bank of nothing": (("bank", "{w}/none", "-o", "{o}/b"), "none does not exist; expected demo"),
    "bank of data without --real": (
        ("bank", "{w}/nut", "-o", "{o}/b"),
        "nut is a data folder, not a run; train on it, or make a bank of its defects with "
        "`defect-synth bank .*nut --real -o BANK`",
    ),
    "data as source": (source("{w}/nut"), "nut is a data folder, not a run"),
    "bank of no entries": (
        ("bank", "{w}/made", "-o", "{o}/b", "--count", "0"),
        "between 1 and 1000000, got 0",
    ),
    "bank where something is": (("bank", "{w}/made", "-o", "{w}/folder"), "folder already holds something"),
    "bank below a file": (("bank", "{w}/made", "-o", "{w}/text.png/b", "--count", "1"), "cannot write .*text.png/b"),
    "bank of two defects, one unknown": (
        ("bank", "{w}/made", "-o", "{o}/b", "--count", "1", "--defects", "spot,dent"),
        "unknown defect 'dent' for disc",
    ),
    "bank of another category": (
        ("bank", "{w}/made", "-o", "{o}/b", "--data", "{w}/nut"),
        "makes disc, but .*nut is nut; check --data and --category",
    ),
    "real defects without masks": (
        ("bank", "{w}/bare", "-o", "{o}/b", "--real"),
        "no masks for the 1 defect images in",
    ),
    "real with data": (("bank", "{w}/nut", "-o", "{o}/b", "--real", "--data", "{w}/nut"), "leave one out"),
    "export of nothing": (("export", "{w}/folder", "-o", "{o}/e"), r"folder has no defects/"),
    "export of a damaged bank": (("export", "{w}/truncated", "-o", "{o}/e"), "truncated is damaged"),
    "export as nobody reads": (("export", "{w}/bank", "-o", "{o}/e", "--format", "pascal"), "pascal"),
    "export where something is": (("export", "{w}/bank", "-o", "{w}/folder"), "folder"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_says_one_line_ends_with_2_and_writes_nothing(case, world, tmp_path, monkeypatch, capfd):
    arguments, expected = COMMANDS[case]
    out = tmp_path / "out"
    out.mkdir()
    before = listing(world)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["defect-synth", *(a.format(w=world, o=out) for a in arguments)])

    with pytest.raises(SystemExit) as stopped:
        main()

    told = capfd.readouterr()  # also what libraries write past Python
    assert stopped.value.code == 2, told
    line = told.err.strip()
    assert line.startswith("error: ")
    assert "\n" not in line
    assert told.out == ""
    assert re.search(expected, line), line
    assert list(out.iterdir()) == []
    assert listing(world) == before


def listing(root):
    return {path.relative_to(root): path.stat().st_size for path in root.rglob("*")}


def of(value, dtype=np.float32, shape=(SIDE, SIDE, 3)):
    image = np.full(shape, 0.5, dtype)
    image[3, 4] = value
    return image


def numbered():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:28, 20:28] = np.arange(64).reshape(8, 8)
    return mask


IMAGES = {
    "NaN": (of(np.nan), "NaN or infinite values; replace them"),
    "infinite": (of(np.inf), "NaN or infinite"),
    "above 1": (of(1.5), r"in \[0, 1\], got 0.5 to 1.5; paint before any normalisation"),
    "below 0": (of(-2.0), "got -2 to 0.5"),
    "0 to 255 as float": (picture().astype(np.float32), "expected float images in"),
    "16 bits": (np.zeros((SIDE, SIDE, 3), np.uint16), "got uint16; convert it to uint8"),
    "float16": (np.zeros((SIDE, SIDE, 3), np.float16), "got float16; convert it"),
    "integers": (np.zeros((SIDE, SIDE, 3), np.int64), "got int64; convert it"),
    "bool": (np.zeros((SIDE, SIDE), bool), "got bool; convert it"),
    "objects": (np.full((SIDE, SIDE, 3), None), "got object; convert it"),
    "4 channels": (np.zeros((SIDE, SIDE, 4), np.uint8), r"got \[48, 48, 4\]; drop alpha"),
    "2 channels": (np.zeros((SIDE, SIDE, 2), np.uint8), r"got \[48, 48, 2\]"),
    "channels first": (np.zeros((3, SIDE, SIDE), np.uint8), r"got \[3, 48, 48\]"),
    "a batch": (np.zeros((2, SIDE, SIDE, 3), np.uint8), r"got \[2, 48, 48, 3\]"),
    "a row": (np.zeros(SIDE, np.uint8), r"got \[48\]"),
    "empty": (np.zeros((0, 0, 3), np.uint8), "at least 16 pixels a side, got 0x0"),
    "8 pixels": (np.zeros((8, 100, 3), np.uint8), "got 100x8; enlarge it"),
    "a path": ("part.png", "NumPy array, got str"),
    "nothing": (None, "NumPy array, got NoneType"),
}

WISHES = {
    "mask of another size": ({"mask": np.ones((9, 9), np.uint8)}, r"mask is \[9, 9\], the image is \[48, 48\]"),
    "empty mask": ({"mask": np.zeros((SIDE, SIDE), np.uint8)}, "the mask is empty"),
    "mask of many values": ({"mask": numbered()}, "mask must have two values, 0 and another, got 0, 1, 2"),
    "mask with NaN": ({"mask": of(np.nan, shape=(SIDE, SIDE))}, "mask must have two values"),
    "coloured mask": ({"mask": np.ones((SIDE, SIDE, 3), np.uint8)}, r"mask must be an array \[H, W\]"),
    "region of another size": ({"region": np.ones((9, 9), bool)}, r"region is \[9, 9\]"),
    "empty region": ({"region": np.zeros((SIDE, SIDE), bool)}, "the region is empty"),
    "empty foreground": ({"foreground": np.zeros((SIDE, SIDE), bool)}, "the foreground is empty"),
    "foreground as a list": ({"foreground": [[1]]}, "foreground must be an array"),
    "point outside": ({"at": (48, 3)}, "at 48,3 is outside the image of 48x48"),
    "point NaN": ({"at": (np.nan, 3)}, "outside the image"),
    "half a point": ({"at": (3,)}, r"at must be \(x, y\) in pixels, got \(3,\)"),
    "point as text": ({"at": "3,4"}, r"at must be \(x, y\)"),
    "no generator": ({"rng": 0}, r"np.random.default_rng\(seed\), got int"),
    "two defects, one unknown": ({"defects": ["spot", "hole"]}, "unknown defect 'hole' for disc"),
    "no defects": ({"defects": []}, "defects is empty"),
    "defects as text": ({"defects": "spot"}, r"write \['spot'\]"),
    "severity": ({"severity": 1.6}, "severity must be between 0 and 1.5, got 1.6"),
}

SETTINGS = {
    "severity as text": ({"severity": "high"}, "severity must be a number or a range"),
    "scale reversed": ({"scale": (2, 1)}, r"scale must be a number or a range \(low, high\)"),
    "scale 9": ({"scale": 9}, "scale must be between 0.2 and 4, got 9"),
    "negative count": ({"count": -1}, "count must be between 0 and 100, got -1"),
    "half a defect": ({"count": 0.5}, "whole numbers"),
    "placement": ({"placement": "top"}, "placement must be one of auto, aligned, object, anywhere; got 'top'"),
    "mode": ({"mode": "blend"}, "mode must be one of auto, residual"),
    "region of many values": ({"region": numbered()}, "region must have two values"),
    "unknown defect": ({"defects": ["spot", "hole"]}, "unknown defect 'hole'"),
    "a number for a source": ({"source": 7}, "an object with category, defects, digest and sample; got int"),
}


@pytest.fixture(scope="module")
def augmenter(world):
    return DefectAugmenter(world / "bank")


def one_line(words, call):
    with pytest.raises(DefectSynthError, match=words) as raised:
        call()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("case", IMAGES)
def test_an_image_that_cannot_be_painted_is_said(augmenter, case):
    image, words = IMAGES[case]
    one_line(words, lambda: augmenter.apply(image, np.random.default_rng(0)))


@pytest.mark.parametrize("case", WISHES)
def test_a_wish_that_cannot_be_met_is_said(augmenter, case):
    wish, words = WISHES[case]
    one_line(words, lambda: augmenter.apply(picture(), **{"rng": np.random.default_rng(0), **wish}))


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_out_of_bounds_is_said(world, case):
    settings, words = SETTINGS[case]
    one_line(words, lambda: DefectAugmenter(**{"source": world / "bank", **settings}))


METADATA = {
    "unknown key": ({"defct": "spot"}, "must be a dict with any of .*; got defct"),
    "seed as text": ({"seed": "a"}, "seed in the metadata item must be a whole number from 0, got 'a'"),
    "negative seed": ({"seed": -1}, "whole number from 0, got -1"),
    "unknown defect": ({"defect": "hole"}, "unknown defect 'hole'"),
    "point outside": ({"at": (99, 0)}, "outside the image"),
    "no dict": (7, "must be a dict"),
}


@pytest.mark.parametrize("case", METADATA)
def test_a_metadata_item_that_cannot_be_met_is_said(world, case):
    from defect_synth.augment.adapters.albumentations import DefectSynth

    item, words = METADATA[case]
    one_line(words, lambda: DefectSynth(str(world / "bank"), p=1)(image=picture(), defect_synth=item))


TENSORS = {
    "a batch": ((2, 3, SIDE, SIDE), (SIDE, SIDE), r"got \[2, 3, 48, 48\]; paint before batching"),
    "no channels": ((SIDE, SIDE), (SIDE, SIDE), "expected one image"),
    "mask of another size": ((3, SIDE, SIDE), (9, 9), r"the mask is \[9, 9\], the image \[3, 48, 48\]"),
    "4 channels": ((4, SIDE, SIDE), (SIDE, SIDE), r"got \[48, 48, 4\]; drop alpha"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_are_no_image_and_mask_are_said(augmenter, case):
    import torch

    from defect_synth.augment.adapters.torchvision import DefectPaint

    image, mask, words = TENSORS[case]
    pair = torch.zeros(image, dtype=torch.uint8), torch.zeros(mask, dtype=torch.uint8)
    one_line(words, lambda: DefectPaint(augmenter, p=1)(*pair))


def test_albumentationsx_in_the_place_of_albumentations_is_said():
    from defect_synth.augment.adapters.albumentations import refuse_albumentationsx

    other = SimpleNamespace(BasicTransform=SimpleNamespace(sample_parameters=None))
    one_line("AlbumentationsX is installed .*pip uninstall albumentationsx", lambda: refuse_albumentationsx(other))


def test_a_bank_that_nobody_may_write_to_is_painted_from(world, tmp_path):
    shutil.copytree(world / "bank", tmp_path / "bank")
    for path in (tmp_path / "bank").iterdir():
        path.chmod(0o444)
    (tmp_path / "bank").chmod(0o555)
    try:
        assert DefectAugmenter(tmp_path / "bank")(picture(), np.random.default_rng(0)).mask.any()
        with pytest.raises(ValueError, match="read-only"):
            Bank.open(tmp_path / "bank").read(0).image[:] = 0
    finally:
        (tmp_path / "bank").chmod(0o755)


def test_a_defect_larger_than_the_image_is_made_to_fit_or_left_out(augmenter):
    for side in (16, 24):
        sample = DefectAugmenter(augmenter.source, scale=4.0)(picture(1, side), np.random.default_rng(0))
        assert sample.image.shape == (side, side, 3)
        assert bool(sample.mask.any()) == (sample.defect != "good")


def test_a_grey_file_is_painted_grey(world, tmp_path, monkeypatch):
    Image.fromarray(picture()[..., 0]).save(tmp_path / "grey.png")
    out = tmp_path / "out.png"
    monkeypatch.setattr(sys, "argv", ["defect-synth", "paint", str(tmp_path / "grey.png"), "-o", str(out),
                                      "--source", str(world / "bank"), "--defect", "spot"])  # fmt: skip
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code in (0, None)
    image, mask = (np.asarray(Image.open(path)) for path in (out, tmp_path / "out_mask.png"))
    assert image.ndim == 2
    assert np.array_equal(image != picture()[..., 0], mask > 0)
