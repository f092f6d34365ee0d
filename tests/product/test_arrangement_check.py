"""What `check` says of how parts lie."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.data.layouts import index
from defect_synth.errors import ConfigError, DataError
from defect_synth.product.arrangement_check import check_arrangement
from tests.fake_data import save
from tests.fake_parts import draw


def cut_off(image, by):
    """The image moved to the right by some pixels."""
    moved = cv2.warpAffine(image, np.float32([[1, 0, by], [0, 1, 0]]), image.shape[1::-1])
    moved[:, :by] = image[0, 0]
    return moved


def write(folder, good, defects=()):
    for number, image in enumerate(good):
        save(folder / "good" / f"{number:03d}.png", image)
    for name, drawn in dict(defects).items():
        for number, (image, mask) in enumerate(drawn):
            save(folder / name / f"{number:03d}.png", image)
            save(folder / name / f"{number:03d}_mask.png", mask * np.uint8(255))
    return index(folder)


def bent(count):
    return [(one.image, one.mask) for one in (draw("screw", seed, defect="bent_tip") for seed in range(count))]


@pytest.fixture(scope="module")
def screws():
    return [draw("screw", seed).image for seed in range(20)]


def test_parts_in_poses_of_their_own_are_counted_and_doubtful_ones_named(tmp_path, screws):
    defects = bent(4)
    defects[2] = cut_off(defects[2][0], 70), np.roll(defects[2][1], 70, axis=1)
    good = [*screws, cut_off(screws[1], 80), np.full_like(screws[0], 60)]
    found = check_arrangement(write(tmp_path / "screw", good, {"bent_tip": defects}))
    assert found.is_placed
    assert [part.name for part in found.doubtful] == ["good/020.png", "good/021.png", "bent_tip/002.png"]
    text = found.format()
    assert "the products lie each in a pose of its own" in text
    assert "(from 22 of 22 good images)" in text
    assert "poses that are certain: good 20 of 22, bent_tip 3 of 4" in text
    assert "  doubtful  good/021.png: no part could be told from the background" in text
    assert text.count("  doubtful  ") == 3


def test_of_parts_that_lie_alike_those_that_do_not_are_named(tmp_path):
    good = [draw("label", seed, angle=0.0, offset=0.01).image for seed in range(20)]
    good += [draw("label", 50, angle=np.pi / 2, offset=0.01).image, draw("label", 51, angle=np.pi, offset=0.01).image]
    found = check_arrangement(write(tmp_path / "label", good))
    assert found.arrangement.symmetry.aligned
    assert [part.name for part in found.doubtful] == ["good/020.png"]
    assert "unlike the mean part" in found.doubtful[0].doubt
    assert "parts that lie like the others: good 21 of 22" in found.format()


def test_each_of_several_parts_in_an_image_has_its_number(tmp_path, screws):
    pairs = [np.concatenate([screws[k], screws[k + 10]], axis=1) for k in range(10)]
    found = check_arrangement(write(tmp_path / "screw", pairs))
    assert len(found.normals) == 20
    assert {part.name for part in found.normals[:2]} == {"good/000.png (part 1)", "good/000.png (part 2)"}
    assert "good 20 of 20" in found.format()
    assert "from 10 of 10 good images" in found.format()


def test_of_textures_nothing_is_doubted_and_defects_are_read_only_for_a_page(tmp_path):
    rng = np.random.default_rng(0)

    def texture(height):
        return rng.integers(90, 160, (height, 64, 3)).astype(np.uint8)

    mask = np.zeros((64, 64), np.uint8)
    mask[20:24, 30:40] = 1
    table = write(tmp_path / "steel", [texture(48 + k) for k in range(9)], {"scratch": [(texture(64), mask)] * 2})
    found = check_arrangement(table)
    assert not found.is_placed
    assert found.doubtful == ()
    assert found.defects == {}
    assert found.format().count("\n") == 0
    assert [part.seen.name for part in check_arrangement(table, for_page=True).defects["scratch"]] == [
        "scratch/000.png",
        "scratch/001.png",
    ]


def test_what_the_user_says_overrides_what_is_found(tmp_path, screws):
    table = write(tmp_path / "screw", screws[:12])
    assert "all alike" in check_arrangement(table, "aligned").format()
    assert not check_arrangement(table, "none").is_placed
    assert check_arrangement(table, "any").arrangement.poses is not None
    with pytest.raises(ConfigError, match="pose must be one of auto, aligned, any, none, got 'some'"):
        check_arrangement(table, "some")


def test_poses_that_cannot_be_found_cannot_be_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    table = write(tmp_path / "steel", [rng.integers(0, 255, (64, 64, 3)).astype(np.uint8) for _ in range(8)])
    with pytest.raises(ConfigError, match="pose=any needs parts on a plain background"):
        check_arrangement(table, "any")


def test_images_with_errors_are_left_out_and_counted(tmp_path, screws):
    folder = tmp_path / "screw"
    write(folder, screws[:8], {"bent_tip": bent(3)})
    (folder / "good" / "000.png").write_bytes(b"no image")
    save(folder / "bent_tip" / "001_mask.png", np.zeros((192, 192), np.uint8))
    found = check_arrangement(index(folder))
    assert found.left_out == ("good/000.png", "bent_tip/001.png")
    assert "from 7 of 8 good images" in found.format()
    assert found.format().endswith("not looked at because of errors: 2")
    for number in range(8):
        (folder / "good" / f"{number:03d}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the good images"):
        check_arrangement(index(folder))


def test_no_more_than_sixty_good_images_are_looked_at(tmp_path):
    image = np.full((16, 16, 3), 30, np.uint8)
    image[4:12, 4:10] = 200
    found = check_arrangement(write(tmp_path / "box", [image] * 70), "none")
    assert len(found.normals) == 60
    assert "from 60 of 70 good images" in found.format()
