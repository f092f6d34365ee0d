from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest
import yaml

from defect_synth.data.coco_mask import fill_polygon
from defect_synth.data.layouts import index
from defect_synth.errors import ConfigError, DataError, OutputError
from defect_synth.export import FORMATS, export
from defect_synth.export.outlines import joined_polygon, polygons, run_lengths
from defect_synth.samples import DefectSample, Provenance


def masks():
    rng = np.random.default_rng(0)
    ring = np.zeros((20, 30), np.uint8)
    ring[3:15, 4:20] = 1
    ring[6:10, 8:12] = 0
    ring[7, 9] = 1  # an island in the hole
    ring[11:13, 15:18] = 0
    thin = np.zeros((20, 30), np.uint8)
    thin[np.arange(18), np.arange(18)] = 1  # a diagonal crack of one pixel
    full = np.ones((20, 30), np.uint8)
    noise = (rng.random((20, 30)) < 0.5).astype(np.uint8)
    return {"ring": ring, "thin": thin, "full": full, "noise": noise}


def filled(rings, shape):
    again = np.zeros(shape, np.uint8)
    for ring in rings:
        again |= fill_polygon([number for point in ring for number in point], *shape)
    return again


@pytest.mark.parametrize("name", masks())
def test_polygons_give_the_same_pixels_back(name):
    mask = masks()[name]
    np.testing.assert_array_equal(filled(polygons(mask), mask.shape), mask)
    np.testing.assert_array_equal(filled([joined_polygon(mask)], mask.shape), mask)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_any_mask_comes_back_from_its_polygons(share):
    pycocotools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(int(share * 100))
    for _ in range(30):
        mask = (rng.random(rng.integers(1, 20, 2)) < share).astype(np.uint8)
        if not mask.any():
            continue
        rings = polygons(mask)
        np.testing.assert_array_equal(filled(rings, mask.shape), mask)
        np.testing.assert_array_equal(filled([joined_polygon(mask)], mask.shape), mask)
        flat = [[number for point in ring for number in point] for ring in rings]
        read = pycocotools.decode(pycocotools.merge(pycocotools.frPyObjects(flat, *map(int, mask.shape))))
        np.testing.assert_array_equal(read, mask)


def test_a_hairline_is_one_polygon_and_so_is_a_part_with_holes():
    hairline = np.zeros((60, 60), np.uint8)
    hairline[np.arange(48), np.arange(48)] = 1
    assert len(polygons(hairline)) == 1
    assert len(polygons(masks()["ring"])) == 2  # with the island in its hole
    assert polygons(np.zeros((5, 5), np.uint8)) == []
    assert joined_polygon(np.zeros((5, 5), np.uint8)) == []


def test_a_straight_side_has_no_points_between_its_ends():
    assert polygons(np.ones((2, 3), np.uint8)) == [[(0.125, 0.125), (0.125, 1.875), (2.875, 1.875), (2.875, 0.125)]]


def test_thousands_of_specks_are_joined():
    mask = np.zeros((120, 120), np.uint8)
    mask[::2, ::2] = 1
    mask[5] = 0
    np.testing.assert_array_equal(filled([joined_polygon(mask)], mask.shape), mask)


def test_run_lengths_count_down_the_columns_and_start_with_background():
    assert run_lengths(np.array([[1, 0], [1, 1]], np.uint8)) == [0, 2, 1, 1]
    assert run_lengths(np.array([[0, 0], [1, 1]], np.uint8)) == [1, 1, 1, 1]


def samples():
    rng = np.random.default_rng(1)
    out = []
    for seed, (defect, mask) in enumerate(
        [("hole", masks()["ring"]), ("crack", masks()["thin"]), ("hole", masks()["full"])]
    ):
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        clean = None if seed == 1 else rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        out.append(DefectSample(image, mask, defect, Provenance("fake", "part", defect, seed), clean))
    return out


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_samples_are_the_same_bytes_and_nothing_else_is_left(tmp_path, form):
    for name in ("a", "b"):
        assert export(tmp_path / name, iter(samples()), form) == 3
    files = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*")) for n in ("a", "b")]
    assert files[0] == files[1]
    for path in files[0]:
        if (tmp_path / "a" / path).is_file():
            assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("place", ["annotations", "annotations_polygons"])
def test_our_reader_gets_images_defects_and_masks_back_from_coco(tmp_path, place):
    export(tmp_path / "out", samples(), "coco")
    table = index(tmp_path / "out" / place / "instances.json", "part")
    assert table.defects == ("crack", "hole")
    got = {r.image.name: r.mask.rasterise() for r in table.records if r.defect is not None}
    np.testing.assert_array_equal(got["crack_000002.png"], masks()["thin"])
    np.testing.assert_array_equal(got["hole_000001.png"], masks()["ring"])


def test_pycocotools_gets_the_masks_back(tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco")
    export(tmp_path / "out", samples(), "coco")
    read = coco.COCO(str(tmp_path / "out/annotations/instances.json"))
    for number, sample in enumerate(samples(), start=1):
        (annotation,) = read.loadAnns(read.getAnnIds(imgIds=number))
        np.testing.assert_array_equal(read.annToMask(annotation), sample.mask)


def test_our_reader_gets_the_mvtec_layout_back(tmp_path):
    export(tmp_path / "out", samples(), "mvtec")
    table = index(tmp_path / "out", "part")
    assert table.defects == ("crack", "hole")
    assert sum(r.defect is None for r in table.records) == 2


def on_objects(count, objects):
    """Samples of which sample i shows object i % objects."""
    found = []
    for seed in range(count):
        clean = np.random.default_rng(seed % objects).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image, mask = clean.copy(), np.zeros((12, 12), np.uint8)
        image[seed % 9, 2:5] = 0
        mask[seed % 9, 2:5] = 1
        found.append(DefectSample(image, mask, "hole", Provenance("fake", "part", "hole", seed), clean))
    return found


@pytest.mark.parametrize(("objects", "train", "test"), [(1, 1, 0), (2, 1, 1), (3, 2, 1), (12, 9, 3)])
def test_normal_images_are_distinct_and_none_is_in_train_and_test(objects, train, test, tmp_path, caplog):
    assert export(tmp_path / "out", on_objects(12, objects), "mvtec") == 12
    found = {part: [p.read_bytes() for p in (tmp_path / "out/part" / part / "good").glob("*.png")]
             for part in ("train", "test")}  # fmt: skip
    assert [len(found["train"]), len(found["test"])] == [train, test]
    assert len({*found["train"], *found["test"]}) == objects
    said = f"12 samples show {objects} different normal images: {train} in train/good, {test} in test/good"
    assert (said in caplog.text) == (objects < 12)
    assert ("add normal images of your own" in caplog.text) == (objects == 1)


@pytest.mark.parametrize("objects", [2, 3, 12])
def test_yolo_validates_on_objects_that_are_not_in_training(objects, tmp_path):
    drawn = on_objects(12, objects)
    export(tmp_path / "out", drawn, "yolo-seg")
    shown = {part: {int(p.stem[-6:]) % objects for p in (tmp_path / "out/images" / part).iterdir()}
             for part in ("train", "val")}  # fmt: skip
    assert shown["val"]
    assert not shown["train"] & shown["val"]
    assert len(list((tmp_path / "out/labels").rglob("*.txt"))) == 12


def test_coco_holds_each_clean_image_once(tmp_path):
    export(tmp_path / "out", on_objects(12, 3), "coco")
    names = [p.name for p in (tmp_path / "out/images").iterdir()]
    assert sorted(name for name in names if name.startswith("clean_")) == [f"clean_hole_{i:06d}.png" for i in (1, 2, 3)]
    content = json.loads((tmp_path / "out/annotations/instances.json").read_text())
    assert len(content["images"]) == len(names) == 15


def numbers_of(folder, form):
    """Defect -> number as the files of a format say, and the numbers that its annotations use."""
    if form == "coco":
        content = json.loads((folder / "annotations/instances.json").read_text())
        names = {category["name"]: category["id"] for category in content["categories"]}
        return names, {annotation["category_id"] for annotation in content["annotations"]}
    if form == "yolo-seg":
        names = {name: number for number, name in yaml.safe_load((folder / "data.yaml").read_text())["names"].items()}
        return names, {int(p.read_text().split()[0]) for p in (folder / "labels").rglob("*.txt")}
    if form == "labelme":
        names = {name: i for i, name in enumerate((folder / "labels.txt").read_text().splitlines(), start=-1)}
        return names, {names[json.loads(p.read_text())["shapes"][0]["label"]] for p in folder.glob("*.json")}
    names = {name: i for i, name in enumerate(json.loads((folder / "classes.json").read_text()))}
    with tarfile.open(folder / "shard-000000.tar") as tar:
        return names, {int(tar.extractfile(n).read()) for n in tar.getnames() if n.endswith("cls")}


@pytest.mark.parametrize("form", ["coco", "yolo-seg", "labelme", "webdataset"])
def test_a_defect_has_one_number_in_every_format_and_export(form, tmp_path):
    source = ("crack", "cut", "hole")
    export(tmp_path / "all", samples(), form, source)
    export(tmp_path / "hole", samples()[::2], form, source)
    export(tmp_path / "backwards", samples()[::-1], form, source)
    for name, used in (("all", {1, 3}), ("hole", {3}), ("backwards", {1, 3})):
        names, found = numbers_of(tmp_path / name, form)
        assert {defect: names[defect] for defect in source} == {"crack": 1, "cut": 2, "hole": 3}
        assert found == used


def test_without_the_defects_of_the_source_those_of_the_samples_are_numbered(tmp_path):
    export(tmp_path / "out", iter(samples()), "yolo-seg")
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == {0: "good", 1: "crack", 2: "hole"}


@pytest.mark.parametrize("form", FORMATS)
def test_a_defect_called_good_is_refused(form, tmp_path):
    with pytest.raises(DataError, match="a defect is called 'good'"):
        export(tmp_path / "out", samples(), form, ["good", "hole"])
    assert not any(tmp_path.iterdir())


def test_a_defect_is_one_line_of_yolo_with_points_inside_the_image(tmp_path):
    specks = on_objects(1, 1)[0]
    specks.mask[10, 1::3] = 1
    export(tmp_path / "out", [*samples(), specks], "yolo-seg")
    files = sorted((tmp_path / "out/labels").rglob("*.txt"))
    assert [file.stem for file in files] == ["hole_000001", "hole_000003", "hole_000004", "crack_000002"]
    for file, sample in zip(files, [samples()[0], samples()[2], specks, samples()[1]], strict=True):
        (line,) = file.read_text().splitlines()
        points = np.array(line.split()[1:], float).reshape(-1, 2)
        assert ((points >= 0) & (points <= 1)).all()
        height, width = sample.mask.shape
        again = fill_polygon((points * [width, height]).ravel().tolist(), height, width)
        np.testing.assert_array_equal(again, sample.mask)


def test_the_yolo_file_names_folders_relative_to_itself(tmp_path):
    export(tmp_path / "out", samples(), "yolo-seg")
    content = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert "path" not in content  # Ultralytics takes the folder of the file then
    for part in ("train", "val"):
        assert any((tmp_path / "out" / content[part]).glob("*.png"))


def test_yolo_says_that_it_validates_on_training_images_where_there_is_one_object(tmp_path, caplog):
    export(tmp_path / "out", on_objects(3, 1), "yolo-seg")
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["val"] == "images/train"
    assert "all samples show one object, so data.yaml validates on the training images" in caplog.text


def test_labelme_parts_of_a_defect_are_a_group(tmp_path):
    export(tmp_path / "out", samples(), "labelme")
    content = json.loads((tmp_path / "out/crack_000002.json").read_text())
    (hairline,) = content["shapes"]
    assert (hairline["label"], hairline["group_id"]) == ("crack", None)
    assert (content["imageHeight"], content["imageWidth"]) == (20, 30)
    ring = json.loads((tmp_path / "out/hole_000001.json").read_text())["shapes"]
    assert [(shape["label"], shape["group_id"]) for shape in ring] == [("hole", 1)] * 2


def test_coco_says_what_it_is(tmp_path):
    export(tmp_path / "out", samples(), "coco")
    for place in ("annotations", "annotations_polygons"):
        content = json.loads((tmp_path / "out" / place / "instances.json").read_text())
        assert content["info"]["description"] == "defects of part, exported by defect-synth"
        assert content["licenses"] == []
        assert [a["area"] for a in content["annotations"]] == [int(sample.mask.sum()) for sample in samples()]
        assert {a["iscrowd"] for a in content["annotations"]} == {0}


def test_a_sample_without_a_defect_pixel_has_no_annotation(tmp_path):
    empty = samples()[0]
    empty.mask[:] = 0
    for form in FORMATS:
        export(tmp_path / form, [empty, *samples()], form)
    content = json.loads((tmp_path / "coco/annotations/instances.json").read_text())
    assert [a["image_id"] for a in content["annotations"]] == [2, 3, 4]
    assert len(content["images"]) == 4 + 2
    assert (tmp_path / "yolo-seg/labels/train/hole_000001.txt").read_text() == ""
    assert json.loads((tmp_path / "labelme/hole_000001.json").read_text())["shapes"] == []


def test_tar_members_of_a_sample_stand_together(tmp_path):
    export(tmp_path / "out", samples(), "webdataset")
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        names = tar.getnames()
        assert tar.extractfile("000002.cls").read() == b"2"
    assert names[:5] == ["000000.png", "000000.mask.png", "000000.cls", "000000.json", "000000.clean.png"]
    assert "000001.clean.png" not in names


def test_an_unknown_format_and_a_taken_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown format 'voc'; known: mvtec, coco"):
        export(tmp_path / "out", samples(), "voc")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/file").write_text("mine")
    with pytest.raises(OutputError, match="already holds something"):
        export(tmp_path / "taken", samples(), "coco")
    assert (tmp_path / "taken/file").read_text() == "mine"


def test_a_failure_halfway_leaves_nothing(tmp_path):
    def broken():
        yield samples()[0]
        raise RuntimeError("cut")

    with pytest.raises(RuntimeError):
        export(tmp_path / "out", broken(), "mvtec")
    assert list(tmp_path.iterdir()) == []
