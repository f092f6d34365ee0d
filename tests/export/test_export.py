from __future__ import annotations

import json
import tarfile

import numpy as np
import pytest

from defect_synth.data.coco_mask import fill_polygon
from defect_synth.data.layouts import index
from defect_synth.errors import ConfigError, OutputError
from defect_synth.export import FORMATS, export
from defect_synth.export.outlines import polygons, run_lengths
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


@pytest.mark.parametrize("name", masks())
def test_polygons_give_the_same_pixels_back(name):
    mask = masks()[name]
    again = np.zeros_like(mask)
    for ring in polygons(mask):
        again |= fill_polygon([number for point in ring for number in point], *mask.shape)
    np.testing.assert_array_equal(again, mask)


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


def test_yolo_lines_are_a_class_and_points_inside_the_image(tmp_path):
    export(tmp_path / "out", samples(), "yolo-seg")
    for path, kind in (("hole_000001", "0"), ("crack_000002", "1")):
        for line in (tmp_path / f"out/labels/train/{path}.txt").read_text().splitlines():
            number, *points = line.split()
            assert number == kind
            assert len(points) >= 6
            assert all(0 <= float(p) <= 1 for p in points)
    assert '1: "crack"' in (tmp_path / "out/data.yaml").read_text()


def test_labelme_polygons_carry_the_defect(tmp_path):
    export(tmp_path / "out", samples(), "labelme")
    content = json.loads((tmp_path / "out/crack_000002.json").read_text())
    assert {shape["label"] for shape in content["shapes"]} == {"crack"}
    assert (content["imageHeight"], content["imageWidth"]) == (20, 30)


def test_tar_members_of_a_sample_stand_together(tmp_path):
    export(tmp_path / "out", samples(), "webdataset")
    with tarfile.open(tmp_path / "out/shard-000000.tar") as tar:
        names = tar.getnames()
        assert tar.extractfile("000002.cls").read() == b"0"
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
