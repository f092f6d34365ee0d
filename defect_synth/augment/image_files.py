"""Read the image files and mask files that a user wants defects painted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from defect_synth.data.images import read_image
from defect_synth.data.masks import examine_mask
from defect_synth.data.records import Record
from defect_synth.errors import DataError
from defect_synth.samples import Pixels


def read_image_to_paint(path: Path) -> Pixels:
    """Read an image file as uint8: [H, W] if it is grey, [H, W, 3] if it has colours.

    Raises:
        DataError: There is no such file, it cannot be read, or its pixels are not opaque and of 8 bits. Such pixels
            could not be kept as they are outside the defect.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the path of an image in it")
    if not path.exists():
        raise DataError(f"{path} does not exist; give the path of an image")
    pixels = read_image(path)
    with Image.open(path) as header:
        mode, bands = header.mode, header.getbands()
        if mode[0] in "IF":
            raise DataError(f"{path} has more than 8 bits per channel ({mode}); save it with 8 bits")
        if ("A" in bands and int(np.asarray(header.getchannel("A")).min()) < 255) or "transparency" in header.info:
            raise DataError(f"{path} has transparent parts; lay it over its background and drop alpha")
    return np.ascontiguousarray(pixels[..., 0]) if mode in ("1", "L", "LA") else pixels


def read_drawn_mask(path: Path, image: Path, shape: tuple[int, int]) -> Pixels:
    """Read a mask file for `image` as uint8 [H, W] in {0, 1}, by the same rules as the masks of a data set.

    Args:
        path: The mask file.
        image: The image file, for messages.
        shape: Height and width of the image.

    Raises:
        DataError: There is no such file, it cannot be read, has another size, or is a photo.
    """
    return examine_mask(Record(image, path, "drawn"), shape).mask
