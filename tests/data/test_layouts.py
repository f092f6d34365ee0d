from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defect_synth.data.layouts import LAYOUTS, Table, index
from defect_synth.data.masks import read_mask
from defect_synth.errors import DataError, UnknownDefectError
from tests.fake_data import (
    fake_category,
    save,
    write_coco,
    write_csv,
    write_folders,
    write_mvtec,
    write_visa,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def kinds(table: Table) -> Counter[str]:
    return Counter(record.defect or "good" for record in table.records)


@pytest.mark.parametrize(
    ("write", "layout"),
    [
        (write_mvtec, "mvtec"),
        (write_visa, "visa"),
        (write_folders, "folders"),
        (write_csv, "csv"),
        (write_coco, "coco"),
    ],
)
def test_every_layout_gives_the_same_kinds_and_masks(tmp_path: Path, write, layout: str) -> None:
    defects = {"hole": 3, "cut": 2}
    path = write(tmp_path, defects=defects, good=4)
    truth: dict[str, list[int]] = {}
    good = 4 + 3 * (layout in ("mvtec", "visa"))
    for defect, _, _, mask in fake_category(defects, good, 48, 0):
        truth.setdefault(defect or "good", []).append(int(mask.sum()))

    table = index(path)

    assert table.layout == layout
    assert table.category == ("candle" if layout == "visa" else "nut")
    assert kinds(table) == {"good": good, "hole": 3, "cut": 2}
    assert (len(table.good), table.defects) == (4, ("cut", "hole"))
    for defect in table.defects:
        assert [int(read_mask(record, (48, 48)).sum()) for record in table.of(defect)] == truth[defect]
    assert table.unused == ()
    names = [record.name for record in table.records]
    assert names == sorted(names)
    assert all((table.root / record.name).is_file() for record in table.records)


def test_a_named_layout_reads_what_auto_reads(tmp_path: Path) -> None:
    path = write_mvtec(tmp_path)
    assert index(path, layout="mvtec") == index(path)


def test_a_layout_that_does_not_fit_is_not_replaced_by_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found a folder with ground_truth/, test/, train/; tried visa:"):
        index(write_mvtec(tmp_path), layout="visa")


def test_a_folder_of_categories_needs_a_name(tmp_path: Path) -> None:
    write_mvtec(tmp_path, "bolt", good=2)
    write_mvtec(tmp_path, "nut", good=3)
    with pytest.raises(DataError, match=r"holds 2 categories: bolt, nut; name one with category="):
        index(tmp_path)
    table = index(tmp_path, "nut")
    assert (table.category, len(table.good), table.root) == ("nut", 3, tmp_path / "nut")


def test_a_folder_of_one_category_needs_none(tmp_path: Path) -> None:
    write_folders(tmp_path, "bolt")
    assert index(tmp_path).category == "bolt"


def test_a_category_folder_can_be_given_another_name(tmp_path: Path) -> None:
    assert index(write_mvtec(tmp_path, "bottle_run7"), "bottle").category == "bottle"


def test_unknown_defect_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownDefectError, match=r"unknown defect 'holes' for nut; known: cut, hole"):
        index(write_mvtec(tmp_path)).of("holes")


def test_mvtec_test_good_is_kept_out_of_good(tmp_path: Path) -> None:
    table = index(write_mvtec(tmp_path, good=5, good_test=4))
    assert len(table.good) == 5
    assert [record.name for record in table.good_test] == [f"test/good/{i:03d}.png" for i in range(4)]
    assert {record.split for record in table.good_test} == {"test"}


def test_mvtec_masks_may_be_named_without_the_ending(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path)
    for mask in (home / "ground_truth").glob("*/*"):
        mask.rename(mask.with_name(mask.name.replace("_mask", "")))
    table = index(home)
    assert table.of("hole")[2].mask == home / "ground_truth" / "hole" / "002.png"
    assert table.unused == ()


def test_masks_without_images_and_empty_folders_are_remembered(tmp_path: Path) -> None:
    home = write_mvtec(tmp_path)
    (home / "test" / "hole" / "003.png").unlink()
    (home / "test" / "dent").mkdir()
    stray = save(home / "ground_truth" / "holes" / "009_mask.png", np.zeros((48, 48), np.uint8))
    unread = home / "test" / "cut" / "scan.gif"
    Image.new("L", (4, 4)).save(unread)
    unused = index(home).unused
    assert unused == tuple(sorted([home / "ground_truth/hole/003_mask.png", stray, home / "test/dent", unread]))


@pytest.mark.parametrize("masks", ["beside", "ground_truth", "masks"])
@pytest.mark.parametrize("good_name", ["good", "OK", "Normal"])
def test_plain_folders_find_masks_in_all_places(tmp_path: Path, masks, good_name: str) -> None:
    table = index(write_folders(tmp_path, masks=masks, good_name=good_name))
    assert kinds(table) == {"good": 12, "hole": 6, "cut": 6}
    assert all(record.mask is not None for record in table.of("cut"))


def test_plain_folders_accept_masks_without_the_ending(tmp_path: Path) -> None:
    table = index(write_folders(tmp_path, masks="masks", ending=""))
    assert [record.mask for record in table.of("cut")] == [table.root / f"masks/cut/{i:03d}.png" for i in range(6)]


def test_files_of_macos_are_no_images(tmp_path: Path) -> None:
    home = write_folders(tmp_path)
    (home / "good" / "._000.png").write_bytes(b"resource fork")
    assert len(index(home).good) == 12


def test_visa_splits_and_kinds_come_from_the_official_tables(tmp_path: Path) -> None:
    home = write_visa(tmp_path, defects={"hole": 2, "cut": 3, "hole, cut": 1}, good=5, good_test=2)
    table = index(home)
    assert (len(table.good), len(table.good_test)) == (5, 2)
    assert kinds(table) == {"good": 7, "cut": 3, "hole": 2, "combined": 1}
    assert index(tmp_path / "split_csv" / "1cls.csv") == table
    assert index(tmp_path) == table


def test_visa_split_table_of_several_categories_needs_a_name(tmp_path: Path) -> None:
    write_visa(tmp_path)
    table = tmp_path / "split_csv" / "1cls.csv"
    table.write_text(table.read_text() + "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\n")
    with pytest.raises(DataError, match=r"holds 2 categories: candle, pcb1; name one"):
        index(table)
    with pytest.raises(DataError, match=r"lists 'pcb1', but .*pcb1/Data/Images does not exist"):
        index(table, "pcb1")
    assert len(index(table, "candle").good) == 12


def test_visa_without_annotations_has_one_kind(tmp_path: Path) -> None:
    home = write_visa(tmp_path)
    (home / "image_anno.csv").unlink()
    assert index(home).defects == ("anomaly",)


def test_csv_split_column_reaches_the_records(tmp_path: Path) -> None:
    table = index(write_csv(tmp_path, split=True))
    assert (len(table.good), len(table.good_test)) == (11, 1)
    assert [record.split for record in table.of("cut")] == ["train"] * 5 + ["test"]


def test_csv_of_a_german_excel_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path)
    text = path.read_text().replace(",", ";").replace("/", "\\").replace("image;", "Image;", 1)
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert kinds(index(path.parent)) == {"good": 12, "hole": 6, "cut": 6}


@pytest.mark.parametrize("form", ["polygons", "runs", "text"])
def test_coco_forms_give_the_same_pixels(tmp_path: Path, form) -> None:
    table = index(write_coco(tmp_path, form=form))
    expected = [mask for defect, _, _, mask in fake_category({"hole": 6, "cut": 6}, 12, 48, 0) if defect == "hole"]
    for record, mask in zip(table.of("hole"), expected, strict=True):
        assert np.array_equal(read_mask(record, (48, 48)), mask)


def test_coco_images_beside_an_annotations_folder_are_found(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    (path.parent / "annotations").mkdir()
    path.rename(path.parent / "annotations" / "instances.json")
    table = index(path.parent)
    assert table.good[0].name == "images/good_0.png"


def test_coco_image_with_two_kinds_is_combined_and_its_mask_their_union(tmp_path: Path) -> None:
    import json

    path = write_coco(tmp_path, defects={"hole": 2, "cut": 2})
    content = json.loads(path.read_text())
    first, last = content["annotations"][0], content["annotations"][-1]
    content["annotations"].append({**last, "id": 99, "image_id": first["image_id"]})
    path.write_text(json.dumps(content))
    table = index(path)
    masks = [mask for defect, _, _, mask in fake_category({"hole": 2, "cut": 2}, 12, 48, 0) if defect]
    assert kinds(table) == {"good": 12, "cut": 2, "hole": 1, "combined": 1}
    assert np.array_equal(read_mask(table.of("combined")[0], (48, 48)), masks[0] | masks[-1])


def test_every_layout_says_what_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError) as caught:
        index(tmp_path)
    assert all(f"{name}: {layout.shape}" in str(caught.value) for name, layout in LAYOUTS.items())
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data")
def test_real_folders_are_complete() -> None:
    assert kinds(index(SHARED / "mvtec_bottle")) == {
        "good": 229,
        "broken_large": 20,
        "broken_small": 22,
        "contamination": 21,
    }
    toy = index(SHARED, "hazelnut_toy")
    assert (len(toy.good), len(toy.good_test), len(toy.of("colour")), toy.unused) == (28, 6, 17, ())
