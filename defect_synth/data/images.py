"""Read images of every kind that cameras and annotation tools write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from defect_synth.errors import DataError
from defect_synth.files import open_file
from defect_synth.samples import Pixels

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")


def read_image(path: Path) -> Pixels:
    """Read an image file as uint8 RGB [H, W, 3].

    Grey images get three equal channels, palettes are resolved and EXIF rotation is applied. Of 16-bit values the high
    byte is used, so that 65535 becomes 255 in every file. A 12-bit camera that stores 0..4095 in 16 bits therefore
    gives almost black images, which `check` reports; stretching each image to its own maximum would give every image
    of a data set another brightness. Transparent pixels are blended with black, the usual background in machine
    vision: the colour that an editor leaves below them is arbitrary.

    Raises:
        DataError: The file is missing or damaged, has several pages, or has pixels without a defined range (32 bits).
    """
    return to_rgb(open_image(path), path)


def open_image(path: Path) -> Image.Image:
    """Decode an image file completely and turn it upright.

    Raises:
        DataError: See `read_image`.
    """
    try:
        if not path.exists():
            raise DataError(f"{path}: file does not exist; correct its path or remove its entry")
        with open_file(path) as opened, Image.open(opened, formats=_FORMATS) as file:
            # Phones write JPEGs with a preview as second image (MPO). Of the pages of a TIFF none can be preferred.
            pages = getattr(file, "n_frames", 1)
            if pages > 1 and file.format != "MPO":
                raise DataError(f"{path}: holds {pages} pages; save each as an image of its own")
            return ImageOps.exif_transpose(file)
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; cut it into tiles") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: not an image of 8 or 16 bits in PNG, JPEG, BMP, TIFF, WebP or PNM; export it again or remove it"
        ) from None
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise all kinds of exceptions on damaged files
        # With an error number the file system is the cause (no permission, a folder), without one the content.
        reason = getattr(error, "strerror", None) or "damaged or cut short"
        raise DataError(f"{path}: cannot be read ({reason}); export it again or remove it") from error


def is_16_bit(image: Image.Image) -> bool:
    """Whether the pixels are integers of more than 8 bits."""
    return image.mode.startswith("I")


def high_byte(image: Image.Image, path: Path) -> Pixels:
    """Convert 16-bit grey to uint8 [H, W].

    Raises:
        DataError: Values do not fit into 16 bits.
    """
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{path}: 32-bit pixels have no defined range; save it with 8 or 16 bits")
    high: Pixels = (values >> 8).astype(np.uint8)
    return high


def refuse_float(image: Image.Image, path: Path) -> None:
    """Check that the pixels are integers.

    Raises:
        DataError: They are floating-point numbers.
    """
    if image.mode == "F":
        raise DataError(f"{path}: floating-point pixels have no defined range; save it with 8 or 16 bits")


def has_alpha(image: Image.Image) -> bool:
    """Whether pixels may be transparent."""
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def to_rgb(image: Image.Image, path: Path) -> Pixels:
    """Convert a decoded image to uint8 RGB [H, W, 3] as `read_image` does; `path` is for messages."""
    refuse_float(image, path)
    if is_16_bit(image):
        return np.repeat(high_byte(image, path)[:, :, None], 3, axis=2)
    if not has_alpha(image):
        return np.array(image.convert("RGB"))
    rgba = np.array(image.convert("RGBA"))
    rgb, alpha = rgba[:, :, :3], rgba[:, :, 3:].astype(np.uint16)
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    over_black: Pixels = ((rgb * alpha + 127) // 255).astype(np.uint8)
    return over_black
