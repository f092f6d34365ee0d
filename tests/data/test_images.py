from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.data.images import Placement, examine_mask, fit, read_image, read_mask, shrunk
from defect_synth.data.layouts import Record
from defect_synth.errors import DataError
from tests.fake_data import fake_nut, save

RGB = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)
GREY = RGB[:, :, 0]
BLOB = np.zeros((20, 30), np.uint8)
BLOB[5:12, 8:20] = 1


def defect(mask: Path) -> Record:
    return Record(Path("x.png"), mask, "hole")


# ------------------------------------------------------------------------------------------------------------ images


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", GREY))
    assert image.dtype == np.uint8
    assert np.array_equal(image, np.dstack([GREY] * 3))


def test_colours_are_in_rgb_order(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "tif", "ppm"):
        assert np.array_equal(read_image(save(tmp_path / f"a.{suffix}", RGB)), RGB)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_keeps_its_high_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), GREY.astype(np.uint16) * 257)
    assert np.array_equal(read_image(path)[:, :, 1], GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), RGB[:, :, ::-1].astype(np.uint16) * 257)
    assert np.array_equal(read_image(path), RGB)


def test_16_bit_images_of_one_set_keep_their_relative_brightness(tmp_path: Path) -> None:
    for name, value in (("dark", 2000), ("bright", 60000)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 4), value, np.uint16))
    assert read_image(tmp_path / "dark.png")[0, 0, 0] == 2000 // 256
    assert read_image(tmp_path / "bright.png")[0, 0, 0] == 60000 // 256


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.dstack([RGB, np.full((20, 30), 255, np.uint8)]))
    assert np.array_equal(read_image(path), RGB)


def test_transparent_pixels_are_laid_over_black(tmp_path: Path) -> None:
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:10], alpha[10] = 0, 128
    image = read_image(save(tmp_path / "a.png", np.dstack([RGB, alpha])))
    assert not image[:10].any()
    assert np.array_equal(image[11:], RGB[11:])
    assert np.abs(image[10].astype(int) - RGB[10] * (128 / 255)).max() <= 0.5


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([0, 0, 0, 200, 10, 20, 30, 40, 250])
    picture.putdata([0, 1, 2])
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0, 0, 0], [200, 10, 20], [30, 40, 250]]]


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(RGB, -1))


# ------------------------------------------------------------------------------------------------------------- masks


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
    with pytest.raises(DataError, match=r"grey levels all over make this a photo or a map of scores, not a mask"):
        read_mask(defect(path), (40, 40))


def test_good_image_has_an_empty_mask() -> None:
    mask = read_mask(Record(Path("x.png"), None, None), (4, 6))
    assert (mask.shape, mask.dtype, mask.any()) == ((4, 6), np.uint8, np.False_)


# --------------------------------------------------------------------------------------------------------------- fit


def test_square_of_the_right_size_is_untouched() -> None:
    image, mask = fake_nut(np.random.default_rng(1), 64, "cut")
    fitted, fitted_mask, placement = fit(image, mask, 64, "letterbox")
    assert np.array_equal(fitted, image)
    assert np.array_equal(fitted_mask, mask)
    assert placement == Placement("letterbox", (64, 64), 64, 1.0, (0, 0))


def test_shrinking_averages_areas() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[0], [100]], [[40], [60]]]
    assert fit(image, None, 2, "letterbox")[0][0, 0].tolist() == [50, 50, 50]


def test_letterbox_keeps_the_aspect_and_repeats_the_edge() -> None:
    image, mask, placement = fit(RGB, BLOB, 60, "letterbox")  # 20 x 30 -> 40 x 60
    assert (placement.scale, placement.offset, placement.scaled) == (2.0, (10, 0), (40, 60))
    assert (image[:10] == image[10]).all()
    assert (image[50:] == image[49]).all()
    assert mask.sum() == pytest.approx(4 * BLOB.sum(), rel=0.05)
    assert not mask[:10].any()


def test_letterbox_continues_a_defect_that_touches_the_border() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:4, 3:6] = 1
    image = np.repeat((200 - 150 * mask)[:, :, None], 3, axis=2).astype(np.uint8)
    fitted, fitted_mask, _ = fit(image, mask, 30, "letterbox")
    assert np.array_equal(fitted_mask == 1, fitted[:, :, 0] == 50)
    assert fitted_mask[0].any()


def test_crop_takes_the_middle_of_a_good_image() -> None:
    image, mask, placement = fit(RGB, None, 20, "crop")
    assert placement.offset == (0, -5)
    assert np.array_equal(image, RGB[:, 5:25])
    assert not mask.any()


@pytest.mark.parametrize(("columns", "left"), [((1, 3), 1), ((26, 29), 9), ((8, 20), 5), ((6, 29), 7)])
def test_crop_moves_no_further_than_the_defect_needs(columns: tuple[int, int], left: int) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:8, slice(*columns)] = 1
    image, cropped, placement = fit(RGB, mask, 20, "crop")
    assert placement.offset == (0, -left)
    assert np.array_equal(image, RGB[:, left : left + 20])
    assert np.array_equal(cropped, mask[:, left : left + 20])


def test_mask_is_cut_at_half_coverage() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:5, :8] = 1  # in halves: rows 0 and 1 full, row 2 half covered
    assert fit(np.zeros((8, 8, 3), np.uint8), mask, 4, "letterbox")[1].tolist() == [[1] * 4, [1] * 4, [1] * 4, [0] * 4]


def test_a_thin_crack_keeps_its_area_instead_of_vanishing() -> None:
    mask = np.zeros((900, 900), np.uint8)
    cv2.line(mask, (100, 150), (700, 800), 1, 1)
    fitted = fit(np.zeros((900, 900, 3), np.uint8), mask, 128, "letterbox")[1]
    expected = mask.sum() * (128 / 900) ** 2
    assert (cv2.resize(mask.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA) >= 0.5).sum() == 0
    assert expected <= fitted.sum() <= 1.5 * expected


def test_a_speck_beside_a_large_defect_is_not_lost() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[20:120, 20:120] = 1
    mask[201, 201] = 1
    fitted = fit(np.zeros((256, 256, 3), np.uint8), mask, 64, "letterbox")[1]
    assert fitted[50, 50] == 1
    assert fitted.sum() == 25 * 25 + 1


@pytest.mark.parametrize("how", ["letterbox", "crop"])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (50, 50)])
def test_restore_brings_a_mask_back_to_its_place(how, shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[20:36, 22:40] = 1
    _, fitted, placement = fit(np.zeros((*shape, 3), np.uint8), mask, 100, how)
    restored = placement.restore(fitted)
    assert (restored.shape, restored.dtype) == (shape, np.uint8)
    overlap = (restored & mask).sum() / (restored | mask).sum()
    assert overlap > 0.9


def test_restore_inverts_letterbox_without_scaling() -> None:
    fitted, _, placement = fit(RGB, None, 30, "letterbox")
    assert np.array_equal(placement.restore(fitted), RGB)


def test_restore_shows_the_original_where_a_crop_cut_away() -> None:
    fitted, _, placement = fit(RGB, None, 20, "crop")
    inverted = 255 - fitted
    restored = placement.restore(inverted, outside=RGB)
    assert np.array_equal(restored[:, 5:25], 255 - RGB[:, 5:25])
    assert np.array_equal(restored[:, :5], RGB[:, :5])
    assert not placement.restore(inverted)[:, 25:].any()


def test_restore_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=r"expected \[20, 20, ...\], got \[10, 20, 3\]"):
        Placement("crop", (20, 30), 20, 1.0, (0, -5)).restore(np.zeros((10, 20, 3), np.uint8))


# ----------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("keep", [0, 10, 60, 500])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
def test_a_file_cut_anywhere_is_refused_by_name(tmp_path: Path, suffix: str, keep: int) -> None:
    path = save(
        tmp_path / f"a.{suffix}", np.dstack([np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)] * 3)
    )
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"a\.{suffix}: (not an image|cannot be read)"):
        read_image(path)


def test_a_folder_is_refused_with_the_systems_reason(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); export it again or remove it"):
        read_image(tmp_path)


def test_shrinking_keeps_a_line_that_is_thinner_than_a_pixel_and_small_images_as_they_are():
    image, mask = np.zeros((60, 200, 3), np.uint8), np.zeros((60, 200), np.uint8)
    mask[30, 20:90] = 1

    small, seen = shrunk(image, mask, 40)

    assert small.shape == (12, 40, 3)
    assert seen.shape == (12, 40)
    assert seen.any()
    assert seen.max() == 1
    assert not shrunk(image, np.zeros_like(mask), 40)[1].any()
    assert shrunk(image, mask, 200)[0] is image
