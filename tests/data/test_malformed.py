"""Every malformed folder that we know of, with the exact line that its owner reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from defect_synth.data.check import check, require_trainable
from defect_synth.data.layouts import index
from defect_synth.errors import DataError
from tests.fake_data import save, write_coco, write_csv, write_folders, write_mvtec, write_visa

WHITE = np.full((48, 48), 255, np.uint8)


def mvtec(root: Path) -> Path:
    return write_mvtec(root, good=50)


def edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def edit_json(path: Path, change: Callable[[Any], None]) -> Path:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


# --------------------------------------------------------------------- what `index` refuses; {} is the temporary folder


def nothing(root: Path) -> Path:
    return root / "nut"


def pictures_without_folders(root: Path) -> Path:
    for i in range(8):
        save(root / f"{i}.png", WHITE)
    return root


def text_file(root: Path) -> Path:
    (root / "notes.txt").write_text("good")
    return root / "notes.txt"


def table_of_other_things(root: Path) -> Path:
    (root / "t.csv").write_text("file,class\na.png,hole\n")
    return root / "t.csv"


def wrong_category(root: Path) -> tuple[Path, str]:
    write_mvtec(root, "bolt")
    write_mvtec(root, "screw")
    return root, "nut"


def mvtec_without_good(root: Path) -> Path:
    home = mvtec(root)
    for path in (home / "train" / "good").iterdir():
        path.unlink()
    return home


def mvtec_without_masks(root: Path) -> Path:
    home = mvtec(root)
    for path in (home / "ground_truth").glob("*/*"):
        path.unlink()
    return home


def folders_with_nested_good(root: Path) -> Path:
    home = write_folders(root)
    (home / "good").rename(home / "day1")
    (home / "good").mkdir()
    (home / "day1").rename(home / "good" / "day1")
    return home


def folders_without_masks(root: Path) -> Path:
    home = write_folders(root)
    for path in home.glob("*/*_mask.png"):
        path.unlink()
    return home


def visa_with_an_unknown_image(root: Path) -> Path:
    home = write_visa(root)
    save(home / "Data" / "Images" / "Anomaly" / "099.JPG", WHITE)
    return home


def visa_table_without_labels(root: Path) -> Path:
    home = write_visa(root)
    edit(home / "image_anno.csv", "image,label,mask", "image,kind,mask")
    return home


def csv_without_mask_column(root: Path) -> Path:
    return edit(write_csv(root), "image,mask,defect", "image,label,defect")


def csv_with_validation_split(root: Path) -> Path:
    return edit(write_csv(root, split=True), "good,train", "good,val")


def csv_with_mask_but_no_defect(root: Path) -> Path:
    return edit(write_csv(root), "labels/hole_0.png,hole", "labels/hole_0.png,")


def csv_row_without_image(root: Path) -> Path:
    return edit(write_csv(root), "images/good_1.png,,good", ",,good")


def csv_with_loose_comma(root: Path) -> Path:
    return edit(write_csv(root), "images/good_1.png,", "images/good,1.png,")


def csv_with_a_path_as_defect(root: Path) -> Path:
    return edit(write_csv(root), "labels/hole_0.png,hole", "labels/hole_0.png,hole/deep")


def csv_with_a_double_row(root: Path) -> Path:
    return edit(write_csv(root), "images/good_1.png,,good", "images/good_0.png,,good")


def csv_in_latin_1(root: Path) -> Path:
    path = write_csv(root)
    path.write_bytes(path.read_bytes().replace(b"hole", b"Kratzer gro\xdf"))
    return path


def csv_without_good(root: Path) -> Path:
    path = write_csv(root)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.endswith("good")))
    return path


def two_csv_tables(root: Path) -> Path:
    path = write_csv(root)
    path.with_name("more.csv").write_bytes(path.read_bytes())
    return path.parent


def coco_cut_short(root: Path) -> Path:
    path = write_coco(root)
    path.write_text(path.read_text()[:-10])
    return path


def coco_with_boxes_only(root: Path) -> Path:
    return edit_json(write_coco(root), lambda c: [mark.pop("segmentation") for mark in c["annotations"]])


def coco_without_file_names(root: Path) -> Path:
    return edit_json(write_coco(root), lambda c: c["images"][3].pop("file_name"))


def coco_with_a_lost_annotation(root: Path) -> Path:
    return edit_json(write_coco(root), lambda c: c["annotations"][2].update(image_id=999))


def coco_with_an_unknown_category(root: Path) -> Path:
    return edit_json(write_coco(root), lambda c: c["annotations"][2].update(category_id=7))


def coco_with_a_flat_polygon(root: Path) -> Path:
    return edit_json(write_coco(root), lambda c: c["annotations"][2].update(segmentation=[1, 2, 3, 4, 5, 6]))


def coco_with_runs_of_another_size(root: Path) -> Path:
    path = write_coco(root, form="runs")
    return edit_json(path, lambda c: c["annotations"][2]["segmentation"].update(size=[96, 96]))


def coco_all_annotated(root: Path) -> Path:
    return write_coco(root, good=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (nothing, "{}/nut does not exist; give a category's folder, a CSV table or a COCO JSON file"),
        (wrong_category, "{} has no category 'nut'; found: bolt, screw"),
        (mvtec_without_good, "no good images for training in {}/nut; expected {}/nut/train/good/*.png"),
        (
            mvtec_without_masks,
            "no masks for the 12 defect images in {}/nut; expected {}/nut/ground_truth/<defect>/*_mask.png",
        ),
        (folders_with_nested_good, "no good images for training in {}/nut; expected {}/nut/good/*.png"),
        (
            folders_without_masks,
            "no masks for the 12 defect images in {}/nut; "
            "expected <image>_mask.png beside each image, or {}/nut/masks/<defect>/*.png",
        ),
        (
            visa_with_an_unknown_image,
            "{}/candle/image_anno.csv has no row for 099.JPG; add one or remove the image",
        ),
        (visa_table_without_labels, "{}/candle/image_anno.csv: no column label; found: image, kind, mask"),
        (csv_without_mask_column, "{}/nut/images.csv: no column mask; found: image, label, defect"),
        (csv_with_validation_split, "{}/nut/images.csv line 2: split must be train, test or empty, got 'val'"),
        (
            csv_with_mask_but_no_defect,
            "{}/nut/images.csv line 14: a mask but no defect; write the defect, or good for a good image",
        ),
        (csv_row_without_image, "{}/nut/images.csv line 3: the column image is empty"),
        (
            csv_with_loose_comma,
            "{}/nut/images.csv line 3: 4 cells for 3 columns; put quotes around a cell that holds ','",
        ),
        (
            csv_with_a_path_as_defect,
            "{}/nut: 'hole/deep' cannot name a category or a defect: it holds '/'; use letters, digits, - and _",
        ),
        (csv_with_a_double_row, "images/good_0.png is listed twice in {}/nut; keep one entry for each image"),
        (csv_in_latin_1, "{}/nut/images.csv is not UTF-8 text; save it as 'CSV UTF-8'"),
        (
            csv_without_good,
            "no good images for training in {}/nut; "
            "expected rows of {}/nut/images.csv whose defect is good and whose split is not test",
        ),
        (two_csv_tables, "{}/nut holds 2 tables: images.csv, more.csv; give the path of one"),
        (
            coco_with_boxes_only,
            "no masks for the 12 defect images in {}/nut; "
            "expected a segmentation (polygons or RLE) in the annotations of {}/nut/instances.json",
        ),
        (coco_without_file_names, "{}/nut/instances.json is not a COCO instances file: no 'file_name'"),
        (coco_with_a_lost_annotation, "{}/nut/instances.json: annotation 2 belongs to image 999, not listed"),
        (coco_with_an_unknown_category, "{}/nut/instances.json: annotation 2 has category 7, not listed"),
        (
            coco_with_a_flat_polygon,
            "{}/nut/instances.json: segmentation of annotation 2 must be a list of polygons "
            "[[x0, y0, x1, y1, ...], ...] or an RLE with size and counts",
        ),
        (
            coco_with_runs_of_another_size,
            "{}/nut/instances.json: RLE of annotation 2 has size [96, 96], its image is 48 high and 48 wide; "
            "expected [48, 48]",
        ),
        (
            coco_all_annotated,
            "no good images for training in {}/nut; expected images without annotations in {}/nut/instances.json",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_index_says(tmp_path: Path, build: Callable[[Path], Any], message: str) -> None:
    built = build(tmp_path)
    path, category = built if isinstance(built, tuple) else (built, None)
    with pytest.raises(DataError) as caught:
        index(path, category)
    assert str(caught.value) == message.replace("{}", str(tmp_path))


@pytest.mark.parametrize(
    ("build", "beginning"),
    [
        (
            pictures_without_folders,
            "{} has no known layout: found a folder with 0.png, 1.png, 2.png, 3.png, 4.png, 5.png and 2 more; "
            "tried mvtec: train/good/*.png, test/<defect>/*.png, ground_truth/<defect>/*_mask.png; visa: ",
        ),
        (text_file, "{}/notes.txt has no known layout: found a .txt file; tried mvtec: "),
        (
            table_of_other_things,
            "{}/t.csv has no known layout: found a CSV table with the columns class, file; tried mvtec: ",
        ),
        (coco_cut_short, "{}/nut/instances.json is not JSON: line 1, column "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_index_says_what_it_found_and_tried(tmp_path: Path, build: Callable[[Path], Path], beginning: str) -> None:
    with pytest.raises(DataError) as caught:
        index(build(tmp_path))
    assert str(caught.value).startswith(beginning.replace("{}", str(tmp_path)))


# ------------------------------------------------------------------------------ what `check` reports about a sound tree


def no_mask(home: Path) -> None:
    (home / "ground_truth/hole/002_mask.png").unlink()


def mask_of_nothing(home: Path) -> None:
    save(home / "ground_truth/hole/077_mask.png", WHITE)


def mask_of_another_size(home: Path) -> None:
    save(home / "ground_truth/hole/002_mask.png", WHITE[:40, :32])


def empty_mask(home: Path) -> None:
    save(home / "ground_truth/hole/002_mask.png", WHITE * 0)


def full_mask(home: Path) -> None:
    save(home / "ground_truth/hole/002_mask.png", WHITE)


def inverted_mask(home: Path) -> None:
    path = home / "ground_truth/hole/002_mask.png"
    save(path, 255 - np.asarray(Image.open(path)))


def photo_as_mask(home: Path) -> None:
    ramp = np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)
    save(home / "ground_truth/hole/002_mask.png", ramp)


def anti_aliased_mask(home: Path) -> None:
    distance = np.hypot(*(np.mgrid[:48, :48] - 24))
    save(home / "ground_truth/hole/002_mask.png", (255 * (10.5 - distance).clip(0, 1)).astype(np.uint8))


def mask_of_shades(home: Path) -> None:
    mask = np.zeros((48, 48), np.uint8)
    mask[5:15, 5:15], mask[20:35, 20:35] = 100, 255
    save(home / "ground_truth/hole/002_mask.png", mask)


def damaged_image(home: Path) -> None:
    path = home / "train/good/004.png"
    path.write_bytes(path.read_bytes()[:2000])


def text_as_image(home: Path) -> None:
    (home / "train/good/004.png").write_text("404 not found")


def floating_point_image(home: Path) -> None:
    Image.fromarray(np.zeros((48, 48), np.float32)).save(home / "train/good/float.tif")


def several_pages(home: Path) -> None:
    page = Image.fromarray(WHITE)
    page.save(home / "train/good/pages.tif", save_all=True, append_images=[page])


def good_and_defect(home: Path) -> None:
    (home / "test/good/001.png").write_bytes((home / "test/hole/003.png").read_bytes())


def two_defects(home: Path) -> None:
    (home / "test/cut/001.png").write_bytes((home / "test/hole/003.png").read_bytes())


def one_good_image(home: Path) -> None:
    for path in sorted((home / "train/good").iterdir())[1:]:
        path.unlink()


def one_defect_image(home: Path) -> None:
    for i in range(1, 6):
        (home / f"test/hole/{i:03d}.png").unlink()
        (home / f"ground_truth/hole/{i:03d}_mask.png").unlink()


def twelve_bits(home: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (48, 48)).astype(np.uint16)
    Image.fromarray(values).save(home / "train/good/004.png")


def unread_format(home: Path) -> None:
    Image.fromarray(WHITE).save(home / "train/good/050.gif")


def empty_defect_folder(home: Path) -> None:
    (home / "test/dent").mkdir()


MASK = "ground_truth/hole/002_mask.png"


@pytest.mark.parametrize(
    ("spoil", "severity", "file", "message"),
    [
        (no_mask, "error", "test/hole/002.png", "no mask for this hole image; add one or remove the image"),
        (
            mask_of_nothing,
            "warning",
            "ground_truth/hole/077_mask.png",
            "mask without an image; rename it after its image or remove it",
        ),
        (
            mask_of_another_size,
            "error",
            MASK,
            "mask is 32x40, but its image 002.png is 48x48; export the mask at the size of the image",
        ),
        (
            empty_mask,
            "error",
            MASK,
            "empty: it marks nothing in 002.png; mark the hole or call the image good",
        ),
        (full_mask, "error", MASK, "full: it marks all of 002.png; only the hole is white, the rest black"),
        (inverted_mask, "warning", MASK, "marks 97% of 002.png; are black and white swapped?"),
        (
            photo_as_mask,
            "error",
            MASK,
            "95 grey levels all over make this a photo or a score map, not a mask; save the defect as white on black",
        ),
        (
            anti_aliased_mask,
            "warning",
            MASK,
            "not binary (9 grey levels); cut at half; save masks as PNG without anti-aliasing",
        ),
        (mask_of_shades, "warning", MASK, "holds 3 flat shades; all but black is taken as hole"),
        (
            damaged_image,
            "error",
            "train/good/004.png",
            "cannot be read (damaged or cut short); export it again or remove it",
        ),
        (
            text_as_image,
            "error",
            "train/good/004.png",
            "not an image of 8 or 16 bits in PNG, JPEG, BMP, TIFF, WebP or PNM; export it again or remove it",
        ),
        (
            floating_point_image,
            "error",
            "train/good/float.tif",
            "floating-point pixels have no defined range; save it with 8 or 16 bits",
        ),
        (several_pages, "error", "train/good/pages.tif", "holds 2 pages; save each as an image of its own"),
        (
            good_and_defect,
            "error",
            "test/hole/003.png",
            "same pixels as test/good/001.png, which is good; keep it in one place",
        ),
        (
            two_defects,
            "error",
            "test/hole/003.png",
            "same pixels as test/cut/001.png, which is cut; keep it in one place",
        ),
        (one_good_image, "error", ".", "1 good image; training needs 2 and works well from 100"),
        (one_defect_image, "error", ".", "1 image of hole; training needs 2 and works well from 5"),
        (
            twelve_bits,
            "warning",
            "train/good/004.png",
            "almost black (brightest value 15 of 255); 12-bit data in 16 bits? stretch it to all of them",
        ),
        (unread_format, "warning", "train/good/050.gif", ".gif files are not read; save it as PNG"),
        (empty_defect_folder, "warning", "test/dent", "folder without images; add images or remove it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_check_says_just_this(tmp_path: Path, spoil, severity: str, file: str, message: str) -> None:
    home = mvtec(tmp_path)
    spoil(home)

    report = check(index(home))

    found = [(p.severity, p.file.relative_to(home).as_posix(), p.message) for p in report.problems]
    assert found == [(severity, file, message)]
    if severity == "warning":
        require_trainable(report)
    else:
        with pytest.raises(DataError) as caught:
            require_trainable(report)
        assert str(caught.value) == f"{home / file}: {message}; run `defect-synth check {home}` to see everything"


def test_a_csv_entry_without_file_is_reported(tmp_path: Path) -> None:
    path = write_csv(tmp_path, good=50)
    (path.parent / "images" / "good_3.png").unlink()
    (path.parent / "labels" / "hole_2.png").unlink()
    messages = [str(problem) for problem in check(index(path)).errors]
    assert messages == [
        f"{path.parent / name}: file does not exist; correct its path or remove its entry"
        for name in ("images/good_3.png", "labels/hole_2.png")
    ]


def test_a_good_image_with_a_marking_mask_is_reported(tmp_path: Path) -> None:
    path = edit(write_csv(tmp_path, good=50), "images/good_3.png,,", "images/good_3.png,labels/hole_2.png,")
    errors = [str(problem) for problem in check(index(path)).errors]
    mask = path.parent / "labels" / "hole_2.png"
    share = np.count_nonzero(np.asarray(Image.open(mask))) / 48**2
    assert errors == [f"{mask}: marks {share:.1%} of the good image good_3.png; name its defect or empty the mask"]


def test_a_damaged_run_length_code_is_reported(tmp_path: Path) -> None:
    def change(content: Any) -> None:
        content["annotations"][1]["segmentation"]["counts"].pop()

    path = edit_json(write_coco(tmp_path, good=50, form="runs"), change)
    errors = check(index(path)).errors
    assert len(errors) == 1
    assert errors[0].message.startswith(f"{path}: segmentation of image 51 is damaged: the run lengths add up to ")
    assert errors[0].message.endswith(", expected 48 x 48 = 2304; export it again")
