from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from defect_synth.data.png import decode_png, encode_png, png_size, write_png

RGB = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


@pytest.mark.parametrize("image", [RGB, GREY])
def test_decoding_inverts_encoding(image):
    np.testing.assert_array_equal(decode_png(encode_png(image)), image)
    np.testing.assert_array_equal(decode_png(encode_png(image, compression=9)), image)


@pytest.mark.parametrize("image", [RGB, GREY])
def test_other_libraries_read_the_same_pixels(image, tmp_path):
    write_png(tmp_path / "new" / "a.png", image)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "new" / "a.png")), image)


def test_bytes_are_those_of_opencv():
    assert encode_png(RGB) == cv2.imencode(".png", RGB[:, :, ::-1])[1].tobytes()
    options = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    assert encode_png(GREY, compression=9) == cv2.imencode(".png", GREY, options)[1].tobytes()


@pytest.mark.parametrize("data", [b"", b"no picture", encode_png(RGB)[:20]])
def test_damaged_data_is_refused(data):
    with pytest.raises(ValueError, match="the PNG data is damaged"):
        decode_png(data)


def test_sixteen_bits_are_refused():
    data = cv2.imencode(".png", GREY.astype(np.uint16) * 257)[1].tobytes()
    with pytest.raises(ValueError, match="damaged"):
        decode_png(data)


@pytest.mark.parametrize("image", [RGB, GREY])
def test_the_size_is_that_of_a_whole_file(image, tmp_path):
    write_png(tmp_path / "a.png", image)
    assert png_size(tmp_path / "a.png") == (9, 7)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert png_size(tmp_path / "a.png") == (9, 7)


def test_a_file_with_any_byte_changed_or_missing_has_no_size(tmp_path):
    data, path = encode_png(GREY), tmp_path / "a.png"
    assert png_size(path) is None
    assert png_size(tmp_path) is None
    for place in range(len(data)):
        for damaged in (data[:place], data[:place] + bytes([data[place] ^ 8]) + data[place + 1 :]):
            path.write_bytes(damaged)
            assert png_size(path) is None, place
    path.write_bytes(data + b"more")
    assert png_size(path) is None
