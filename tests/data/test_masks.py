from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.data.layouts import Record
from defect_synth.data.masks import examine_mask, read_mask
from defect_synth.errors import DataError
from tests.fake_data import fake_nut, save

RGB = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)
BLOB = np.zeros((20, 30), np.uint8)
BLOB[5:12, 8:20] = 1


def defect(mask: Path) -> Record:
    return Record(Path("x.png"), mask, "hole")


def _palette(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette([0, 0, 0, 128, 0, 0])
    return picture


def _transparent(mask: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(np.dstack([mask[:, :, None] * np.array(colour, np.uint8), mask * np.uint8(255)]))


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("0 and 255", Image.fromarray(BLOB * np.uint8(255))),
        ("0 and 1", Image.fromarray(BLOB)),
        ("1 bit", Image.fromarray(BLOB * np.uint8(255)).convert("1")),
        ("16 bits, full range", Image.fromarray(BLOB.astype(np.uint16) * 65535)),
        ("16 bits, 0 and 1", Image.fromarray(BLOB.astype(np.uint16))),
        ("pure blue", Image.fromarray(BLOB[:, :, None] * np.array([0, 0, 255], np.uint8))),
        ("palette", _palette(BLOB)),
        ("opaque RGBA", Image.fromarray(np.dstack([BLOB * 255] * 3 + [np.full_like(BLOB, 255)]))),
        ("red on transparent", _transparent(BLOB, (255, 0, 0))),
        ("black on transparent", _transparent(BLOB, (0, 0, 0))),
    ],
)
def test_binary_masks_of_every_encoding_are_the_same(tmp_path: Path, name: str, picture: Image.Image) -> None:
    picture.save(tmp_path / "m.png")
    reading = examine_mask(defect(tmp_path / "m.png"), (20, 30))
    assert np.array_equal(reading.mask, BLOB), name
    assert reading.mask.dtype == np.uint8
    assert reading.kind == "binary"


def test_index_masks_of_visa_are_binary_and_every_index_is_defect(tmp_path: Path) -> None:
    indexed = BLOB.copy()
    indexed[5:8] *= 4
    reading = examine_mask(defect(save(tmp_path / "m.png", indexed)), (20, 30))
    assert np.array_equal(reading.mask, BLOB)
    assert reading.kind == "binary"


def test_anti_aliased_mask_is_cut_at_half_and_known_as_soft(tmp_path: Path) -> None:
    big = np.zeros((200, 300), np.uint8)
    cv2.circle(big, (150, 100), 60, 255, -1)
    small = cv2.resize(big, (30, 20), interpolation=cv2.INTER_AREA)
    reading = examine_mask(defect(save(tmp_path / "m.png", small)), (20, 30))
    assert np.array_equal(reading.mask, (small >= 128).astype(np.uint8))
    assert reading.kind == "soft"


def test_jpeg_mask_recovers_its_shape(tmp_path: Path) -> None:
    mask = fake_nut(np.random.default_rng(0), 96, "hole")[1]
    path = tmp_path / "m.jpg"
    Image.fromarray(mask * np.uint8(255)).save(path, quality=85)
    reading = examine_mask(defect(path), (96, 96))
    assert np.array_equal(reading.mask, mask)
    assert reading.kind == "soft"


def test_label_map_marks_every_shade(tmp_path: Path) -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[5:15, 5:15], labels[20:35, 20:35] = 100, 255
    reading = examine_mask(defect(save(tmp_path / "m.png", labels)), (40, 40))
    assert reading.mask.sum() == 100 + 225
    assert reading.kind == "labels"


def test_a_photo_is_no_mask(tmp_path: Path) -> None:
    photo = np.random.default_rng(0).normal(128, 30, (40, 40)).clip(0, 255).astype(np.uint8)
    path = save(tmp_path / "m.png", photo)
    with pytest.raises(DataError, match=r"grey levels all over make this a photo or a score map, not a mask"):
        read_mask(defect(path), (40, 40))


def test_good_image_has_an_empty_mask() -> None:
    mask = read_mask(Record(Path("x.png"), None, None), (4, 6))
    assert (mask.shape, mask.dtype, mask.any()) == ((4, 6), np.uint8, np.False_)
