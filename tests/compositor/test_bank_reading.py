"""A bank that somebody else made, or that was damaged: one line says what does not fit; nothing is written outside."""

from __future__ import annotations

import json
import os
import shutil
import sys

import numpy as np
import pytest

from defect_synth.augment import DefectAugmenter
from defect_synth.cli import main
from defect_synth.compositor.bank import Bank, build_bank
from defect_synth.errors import DataError, InvalidNameError
from tests.compositor.test_bank import OPEN, AnySize, FakePainter, as_format_2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "bank"
    build_bank(FakePainter(), folder, count=3, limits=OPEN)
    return folder


@pytest.fixture(scope="module")
def whole_of_one_size(whole, tmp_path_factory):
    return as_format_2(whole, tmp_path_factory.mktemp("old") / "bank")


@pytest.fixture
def bank(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "bank")


@pytest.fixture
def bank_of_one_size(whole_of_one_size, tmp_path):
    return shutil.copytree(whole_of_one_size, tmp_path / "bank")


def index(**changes):
    def edit(bank):
        values = json.loads((bank / "bank.json").read_text())
        (bank / "bank.json").write_text(json.dumps(values | changes))

    return edit


def array(name, change):
    def edit(bank):
        np.save(bank / f"{name}.npy", change(np.load(bank / f"{name}.npy")))

    return edit


def at(value, *where):
    def change(values):
        values[where] = value
        return values

    return change


def claimed(name, shape, dtype="|u1"):
    """A header that promises more than the file holds."""

    def edit(bank):
        with (bank / f"{name}.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
            file.write(bytes(100))

    return edit


def provenance(line):
    def edit(bank):
        lines = (bank / "provenance.jsonl").read_text().splitlines()
        lines[0] = line if isinstance(line, str) else json.dumps(json.loads(lines[0]) | line)
        (bank / "provenance.jsonl").write_text("\n".join(lines) + "\n")

    return edit


def fifo(name):
    def edit(bank):
        (bank / name).unlink()
        os.mkfifo(bank / name)

    return edit


DAMAGE = {
    "appearance NaN": (array("appearance", at(np.nan, 1, 4)), "appearance holds values outside 0..1"),
    "appearance infinite": (array("appearance", at(np.inf, 0, 0)), "appearance holds values outside 0..1"),
    "appearance short": (array("appearance", lambda a: a[:, :40]), r"expected float32 \[6, 48\]"),
    "float images": (array("images", lambda a: a.astype(np.float32)), "images is float32"),
    "images not flat": (array("images", lambda a: a.reshape(6, -1)), "images is uint8"),
    "images cut short": (array("images", lambda a: a[:-1]), r"images is uint8 \[73727\], expected uint8 \[73728\]"),
    "masks cut short": (array("masks", lambda a: a[1:]), r"masks is uint8 \[24575\], expected uint8 \[24576\]"),
    "cleans cut short": (array("cleans", lambda a: a[1:]), "cleans is"),
    "shapes missing": (lambda b: (b / "shapes.npy").unlink(), "shapes.npy: "),
    "shapes of others": (array("shapes", lambda a: a[1:]), r"shapes is int32 \[5, 2\], expected int32 \[6, 2\]"),
    "shapes real": (array("shapes", lambda a: a.astype(np.float64)), "shapes is float64"),
    "shape larger": (array("shapes", at(65, 0, 0)), "expected uint8"),
    "shape of 0": (array("shapes", at(0, 0)), "shapes holds images of no pixels"),
    "shapes negative": (array("shapes", at(-64, 0)), "shapes holds images of no pixels"),
    "shape of 10^18": (array("shapes", at(2**31 - 1, 0)), "or of more than"),
    "shapes that overflow": (array("shapes", lambda a: np.full_like(a, 2**31 - 1)), "or of more than"),
    "label too large": (array("labels", at(7, 0)), "labels and the defects of the index differ"),
    "label negative": (array("labels", at(-1, 0)), "labels and the defects of the index differ"),
    "paired of 2": (array("paired", at(2, 0)), "paired names clean images"),
    "labels as objects": (array("labels", lambda a: a.astype("U9")), "labels is <U"),
    "images of 10^19": (claimed("images", (10**19,)), "100 bytes for uint8"),
    "images of 3 TB": (claimed("images", (3 * 10**12,)), "100 bytes for uint8"),
    "negative size": (claimed("images", (-6,)), "images.npy|images is"),
    "pickled": (claimed("labels", (6,), "|O"), "labels.npy: "),
    "no header": (lambda b: (b / "labels.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': ((((("), "labels.npy: "),
    "a zip": (lambda b: (b / "labels.npy").write_bytes(b"PK\x03\x04" + bytes(50)), "labels.npy: "),
    "array is a FIFO": (fifo("masks.npy"), "masks.npy: is a FIFO, expected a file"),
    "index is a list": (lambda b: (b / "bank.json").write_text("[1, 2]"), "valid dictionary"),
    "index nested": (lambda b: (b / "bank.json").write_text("[" * 100_000), "nested too deeply"),
    "format infinite": (lambda b: (b / "bank.json").write_text('{"format": Infinity}'), "finite number"),
    "count of 10^9": (index(count=10**9), "count: "),
    "count negative": (index(count=-1), "count: "),
    "count of another bank": (index(count=5), r"expected int32 \[5, 2\]"),
    "of one size in an index": (index(format=2), "images is"),
    "no defects": (index(defects=[]), "defects: "),
    "defects a number": (index(defects=3), "defects: "),
    "defect twice": (index(defects=["hole", "hole"]), "a defect is listed twice"),
    "digest a list": (index(digest=[1]), "digest: "),
    "digest with an escape": (index(digest="\x1b[2J"), "digest: "),
}
DAMAGE_OF_ONE_SIZE = {
    "float images": (array("images", lambda a: a.astype(np.float32)), "images is float32"),
    "flat images": (array("images", lambda a: a[..., 0]), "images is"),
    "no pixels": (array("images", lambda a: a[:, :0]), "images is"),
    "no entries": (array("images", lambda a: a[:0]), "images is"),
    "masks of another size": (array("masks", lambda a: a[:, 1:]), "masks is"),
    "images of 10^9": (claimed("images", (6, 10**9, 10**9, 3)), "100 bytes for uint8"),
    "images of 3 TB": (claimed("images", (6, 10**6, 10**6, 3)), "100 bytes for uint8"),
    "negative size": (claimed("images", (-6, 64, 64, 3)), "images.npy|images is"),
    "count of another bank": (index(count=5), r"expected uint8 \[5, "),
    "of any sizes in an index": (index(format=3), "shapes.npy: "),
}
NAMES = {
    "category upwards": (index(category="../PWNED"), "bank.json: '../PWNED' cannot name"),
    "defect absolute": (index(defects=["/tmp/x", "hole"]), "bank.json: '/tmp/x' cannot name"),
    "defect with an escape": (index(defects=["a\x1b[2J", "hole"]), r"'a\\x1b\[2J' cannot name"),
}
LINES = {
    "provenance category": (provenance({"category": "../PWNED"}), "line 1: '../PWNED' cannot name"),
    "provenance defect": (provenance({"defect": "/tmp/x"}), "line 1: '/tmp/x' cannot name"),
    "provenance a list": (provenance("[]"), "line 1"),
    "provenance nested": (provenance("[" * 60_000), "nested too deeply"),
    "provenance unknown field": (provenance({"x": 1}), "'x' is unknown"),
    "provenance seed": (provenance({"seed": 10**30}), "seed must be an integer"),
    "provenance seed text": (provenance({"seed": "1"}), "seed must be an integer"),
    "provenance parameters": (provenance({"parameters": {"a": []}}), "parameter 'a'"),
    "provenance of 100 kB": (provenance({"method": "x" * 100_000}), "longer than"),
    "provenance long": (provenance({"method": "x" * 5000}), "'method' must be text"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_bank_is_named_with_its_fault(case, bank):
    damage, expected = DAMAGE[case]
    damage(bank)
    with pytest.raises(DataError, match=rf"bank is damaged \(.*({expected}).*make the bank again"):
        Bank.open(bank)


@pytest.mark.parametrize("case", DAMAGE_OF_ONE_SIZE)
def test_a_damaged_bank_of_the_format_before_is_named_with_its_fault(case, bank_of_one_size):
    damage, expected = DAMAGE_OF_ONE_SIZE[case]
    damage(bank_of_one_size)
    with pytest.raises(DataError, match=rf"bank is damaged \(.*({expected}).*make the bank again"):
        Bank.open(bank_of_one_size)


def test_a_mask_out_of_its_place_among_other_sizes_is_refused_when_it_is_read(tmp_path):
    build_bank(AnySize(), tmp_path / "bank", count=3, limits=OPEN)
    array("shapes", lambda a: a[::-1].copy())(tmp_path / "bank")  # the sum is as before
    opened = Bank.open(tmp_path / "bank")
    with pytest.raises(DataError, match="the mask of entry 0 is not one of 0 and 1, or not in its box"):
        opened.read(0)


@pytest.mark.parametrize("case", NAMES)
def test_names_in_a_bank_are_checked(case, bank):
    damage, expected = NAMES[case]
    damage(bank)
    with pytest.raises(InvalidNameError, match=expected):
        Bank.open(bank)


@pytest.mark.parametrize("case", LINES)
def test_provenance_is_checked_before_anything_is_written(case, bank, tmp_path, monkeypatch, capsys):
    damage, expected = LINES[case]
    damage(bank)
    with pytest.raises(DataError, match=expected):
        list(Bank.open(bank).recorded_samples())
    before = sorted(tmp_path.rglob("*"))
    for form in ("mvtec", "coco", "yolo-seg", "labelme", "webdataset"):
        arguments = ["defect-synth", "export", str(bank), "--format", form, "-o", str(tmp_path / "out")]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as stopped:
            main()
        err = capsys.readouterr().err
        assert stopped.value.code == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "damage", [array("masks", at(255, 0)), array("masks", at(0, slice(64 * 64))), array("boxes", at(10**9, 0, 2)),
               array("boxes", at(-5, 0, 0)), array("boxes", at(0, 0))],
)  # fmt: skip
def test_a_mask_that_is_none_or_not_in_its_box_is_refused_when_it_is_read(damage, bank):
    damage(bank)
    opened = Bank.open(bank)
    opened.read(1)
    with pytest.raises(DataError, match="the mask of entry 0 is not one of 0 and 1, or not in its box"):
        opened.read(0)
    augmenter = DefectAugmenter(opened)
    image = np.full((64, 64, 3), 200, np.uint8)
    with pytest.raises(DataError, match="entry 0"):  # the first of them that draws it
        [augmenter(image, np.random.default_rng(seed)) for seed in range(50)]


def test_a_whole_bank_is_read_as_it_was_written(bank):
    opened = Bank.open(bank)
    assert [e.provenance for e in opened.entries] == [
        json.loads(line) for line in (bank / "provenance.jsonl").read_text().splitlines()
    ]
    assert len(list(opened.recorded_samples())) == 6
