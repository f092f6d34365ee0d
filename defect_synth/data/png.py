"""Pixels to the bytes of a PNG file and back: the only PNG encoder of the package."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from defect_synth.atomic import replacing
from defect_synth.errors import DataError
from defect_synth.files import MIB, read_bytes
from defect_synth.samples import Pixels

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 512 * MIB
_MOST_PIXELS = 1 << 26  # a few bytes can stand for gigabytes


def encode_png(image: Pixels, compression: int | None = None) -> bytes:
    """The bytes of a PNG file, the same for the same pixels and version of OpenCV.

    Args:
        image: uint8 [H, W, 3], RGB, or [H, W], grey.
        compression: zlib level, 0 (fast) to 9 (small); None: OpenCV's default.
    """
    bgr = image[:, :, ::-1] if image.ndim == 3 else image
    options = [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression]
    done, data = cv2.imencode(".png", np.ascontiguousarray(bgr), options)
    assert done
    return bytes(data.tobytes())


def decode_png(data: bytes) -> Pixels:
    """The inverse of `encode_png`: uint8 [H, W, 3], RGB, or [H, W], grey.

    Raises:
        ValueError: The bytes are not a PNG of 8 bits per channel, or one of more than 64 million pixels.
    """
    height, width = png_shape(data)
    if not 0 < height * width <= _MOST_PIXELS:
        raise ValueError(f"the PNG data has {height}x{width} pixels" if height else "the PNG data is damaged")
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint8:
        raise ValueError("the PNG data is damaged")
    return np.ascontiguousarray(found[:, :, ::-1]) if found.ndim == 3 else np.asarray(found, np.uint8)


def png_shape(data: bytes) -> tuple[int, int]:
    """Height and width that the bytes of a PNG file begin with; (0, 0) if they are another file."""
    if data[:8] != _SIGNATURE or data[12:16] != b"IHDR" or len(data) < 24:
        return 0, 0
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def png_size(path: Path) -> tuple[int, int] | None:
    """Height and width of a PNG file whose every byte is as it was written; None if it is missing or damaged.

    Each part of a PNG file has a checksum, so that nothing needs to be decoded.
    """
    try:
        data = read_bytes(path, _MOST_BYTES)
    except DataError:
        return None
    place, size = len(_SIGNATURE), None
    if data[:place] != _SIGNATURE:
        return None
    while place + 12 <= len(data):  # length, kind, content, checksum
        (length,) = struct.unpack_from(">I", data, place)
        kind, end = data[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            return None
        if size is None:
            if kind != b"IHDR" or length != 13:
                return None
            width, height = struct.unpack_from(">II", data, place + 8)
            size = (height, width)
        place = end + 4
        if kind == b"IEND":
            return size if place == len(data) else None
    return None


def write_png(path: Path, image: Pixels, argument: str = "--output") -> None:
    """Write `encode_png(image)` to `path`, completely or not at all.

    Args:
        path: The file.
        image: As for `encode_png`.
        argument: What the user gave the path with, for messages.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path, argument) as temporary:
        temporary.write_bytes(encode_png(image))
