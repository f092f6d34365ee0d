"""What was found and is not read is said, and files that tools write are read alike."""

from __future__ import annotations

import json
import unicodedata

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.data.check import check
from defect_synth.data.layouts import index
from defect_synth.data.masks import examine_mask
from defect_synth.errors import DataError
from tests.fake_data import write_mvtec


@pytest.fixture
def data(tmp_path):
    return write_mvtec(tmp_path, category="nut", defects={"hole": 6}, good=6, size=40)


def warnings_of(root):
    return {str(p.file.relative_to(root)): p.message for p in check(index(root)).problems}


def test_a_link_to_nowhere_is_named(data):
    (data / "train/good/099.png").symlink_to(data / "nowhere.png")
    assert "a link that points nowhere" in warnings_of(data)["train/good/099.png"]


def test_lots_inside_a_folder_are_named_with_their_number(data):
    (data / "test/hole/lot7").mkdir()
    for k in range(3):
        cv2.imwrite(str(data / f"test/hole/lot7/{k:03d}.png"), np.zeros((40, 40, 3), np.uint8))
    assert warnings_of(data)["test/hole/lot7"].startswith("3 images are not read: a folder inside hole")


def test_folders_of_another_layout_are_named(data):
    (data / "test_public/bad").mkdir(parents=True)
    cv2.imwrite(str(data / "test_public/bad/000.png"), np.zeros((40, 40, 3), np.uint8))
    message = warnings_of(data)["test_public"]
    assert "1 images are not read" in message
    assert "it reads ground_truth, test, train" in message


def test_an_image_outside_the_folders_of_a_split_is_named(data):
    cv2.imwrite(str(data / "test/lost.png"), np.zeros((40, 40, 3), np.uint8))
    assert "outside the folders good and <defect>" in warnings_of(data)["test/lost.png"]


def test_accents_pair_however_they_are_written(data):
    composed, split = (unicodedata.normalize(form, "prüf") for form in ("NFC", "NFD"))
    cv2.imwrite(str(data / f"test/hole/{composed}.png"), np.full((40, 40, 3), 9, np.uint8))
    cv2.imwrite(str(data / f"ground_truth/hole/{split}_mask.png"), np.eye(40, dtype=np.uint8) * 255)
    found = next(r for r in index(data).records if r.image.stem == composed)
    assert found.mask is not None


def test_one_mask_for_two_images_is_an_error(data):
    cv2.imwrite(str(data / "test/hole/000.jpg"), np.full((40, 40, 3), 77, np.uint8))
    messages = [p.message for p in check(index(data)).errors]
    assert any("the mask of both test/hole/000" in message for message in messages)


def test_class_indices_with_an_ignored_border_are_the_defect(data):
    mask = np.zeros((40, 40), np.uint8)
    mask[9:31, 9:31] = 255
    mask[10:30, 10:30] = 1
    record = index(data).of("hole")[0]
    Image.fromarray(mask).save(record.mask)
    reading = examine_mask(record, (40, 40))
    assert reading.kind == "indexed"
    assert reading.mask.sum() == 400
    assert "255 as a border" in warnings_of(data)[f"ground_truth/hole/{record.mask.name}"]


def test_nearly_black_specks_beside_white_are_no_class(data):
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 10:30] = 255
    mask[0, :5] = 2
    record = index(data).of("hole")[0]
    Image.fromarray(mask).save(record.mask)
    np.testing.assert_array_equal(examine_mask(record, (40, 40)).mask, mask == 255)


def coco(root, **changes):
    """A COCO file beside pictures: one good, one with a polygon."""
    for k in range(3):
        cv2.imwrite(str(root / f"{k:03d}.png"), np.full((40, 40, 3), 100 + k, np.uint8))
    outline = [[5, 5, 15, 5, 15, 15, 5, 15]]
    content = {
        "images": [{"id": k, "file_name": f"{k:03d}.png", "height": 40, "width": 40} for k in range(3)],
        "categories": [{"id": 1, "name": "hole"}, {"id": 2, "name": "good"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": outline},
            {"id": 2, "image_id": 2, "category_id": 2, "segmentation": outline},
        ],
    }
    return content | changes


def written(root, content, *, encoding="utf-8"):
    (root / "instances.json").write_text(json.dumps(content), encoding=encoding)
    return index(root / "instances.json")


def test_coco_with_a_byte_order_mark_backslashes_and_a_category_good_is_read(tmp_path):
    content = coco(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "000.png").rename(tmp_path / "images/000.png")
    content["images"][0]["file_name"] = "images\\000.png"
    table = written(tmp_path, content, encoding="utf-8-sig")
    assert [(r.name, r.defect) for r in table.records] == [
        ("001.png", "hole"), ("002.png", None), ("images/000.png", None)
    ]  # fmt: skip


def test_boxes_beside_outlines_are_named(tmp_path):
    content = coco(tmp_path)
    content["annotations"].append({"id": 7, "image_id": 1, "category_id": 1, "bbox": [20, 20, 9, 9]})
    table = written(tmp_path, content)
    assert "annotations without a mask are not read: 7" in table.reasons[tmp_path / "001.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 10**5, "width": 10**5}, "height 100000 and width 100000"),
        ({"file_name": "x" * 300 + ".png"}, "file_name of 304 characters"),
    ],
)
def test_numbers_and_names_of_coco_have_bounds(tmp_path, change, message):
    content = coco(tmp_path)
    content["images"][1] |= change
    with pytest.raises(DataError, match=message):
        written(tmp_path, content)


def test_a_coordinate_that_is_no_number_is_one_line(tmp_path):
    content = coco(tmp_path)
    content["annotations"][0]["segmentation"] = [[5, 5, 1e400, 5, 15, 15]]
    record = written(tmp_path, content).of("hole")[0]
    with pytest.raises(DataError, match="is damaged"):
        examine_mask(record, (40, 40))


def test_broken_json_is_called_broken_json(tmp_path):
    text = json.dumps(coco(tmp_path), indent=1)
    (tmp_path / "instances.json").write_text(text[: len(text) // 2])
    with pytest.raises(DataError, match=r"instances\.json is not JSON: line \d+, column \d+"):
        index(tmp_path / "instances.json")


def test_a_huge_cell_of_a_table_is_one_line(tmp_path):
    (tmp_path / "table.csv").write_text("image,mask,defect\n" + "x" * 200_000 + ",,good\n")
    with pytest.raises(DataError, match=r"table\.csv line 2: field larger than field limit"):
        index(tmp_path / "table.csv")
