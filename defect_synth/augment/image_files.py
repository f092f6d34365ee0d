"""Read the image files and mask files that a user wants defects painted on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from defect_synth.data.images import read_image
from defect_synth.data.masks import examine_mask
from defect_synth.data.records import Record
from defect_synth.errors import ConfigError, DataError
from defect_synth.files import open_file
from defect_synth.samples import Pixels

_PNG_DEPTH = 24  # position of the bits per channel in a PNG file


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
    with open_file(path) as file:
        start = file.read(_PNG_DEPTH + 1)
    # Pillow opens coloured PNG files of 16 bits as if they had 8.
    if start.startswith(b"\x89PNG") and start[_PNG_DEPTH:] == b"\x10":
        raise DataError(f"{path} has more than 8 bits per channel (16); save it with 8 bits")
    with Image.open(path) as header:
        mode, bands = header.mode, header.getbands()
        if mode[0] in "IF":
            raise DataError(f"{path} has more than 8 bits per channel ({mode}); save it with 8 bits")
        if ("A" in bands and int(np.asarray(header.getchannel("A")).min()) < 255) or "transparency" in header.info:
            raise DataError(f"{path} has transparent parts; lay it over its background and drop alpha")
    return np.ascontiguousarray(pixels[..., 0]) if mode in ("1", "L", "LA") else pixels


def read_region(
    region: Path | None, region_of: Path | None, image: Path, shape: tuple[int, int]
) -> tuple[Pixels | None, Pixels | None]:
    """Read the region that a user drew, and the normal image that it was drawn on, for `DefectAugmenter`.

    Args:
        region: The mask file, white on black; None: no region.
        region_of: The normal image; None: the region was drawn on `image`.
        image: An image to paint on.
        shape: Height and width of it.

    Raises:
        ConfigError: There is an image, but no region.
        DataError: A file cannot be read, or the two have different sizes.
    """
    if region is None:
        if region_of is not None:
            raise ConfigError("--region-of is the image that --region was drawn on, so it needs --region; give both")
        return None, None
    if region_of is None:
        return read_drawn_mask(region, image, shape), None
    reference = read_image_to_paint(region_of)
    return read_drawn_mask(region, region_of, (reference.shape[0], reference.shape[1])), reference


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
