from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.data.images import read_image
from defect_synth.errors import DataError
from tests.fake_data import save

RGB = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)
GREY = RGB[:, :, 0]


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
    with pytest.raises(DataError, match=r"is a folder, expected a file; correct the path"):
        read_image(tmp_path)
