"""Read masks of every kind that annotation tools write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from defect_synth.data.coco_mask import CocoMask
from defect_synth.data.images import has_alpha, high_byte, is_16_bit, open_image, refuse_float, to_rgb
from defect_synth.data.records import Record
from defect_synth.errors import DataError
from defect_synth.samples import Pixels

MaskKind = Literal["binary", "labels", "indexed", "soft"]

# A file with more grey levels than this, and more than this share of pixels neither dark nor bright, is not a mask.
_FEW_LEVELS = 32
_PHOTO_SHARE = 0.25
_INDEXED = 0.5  # area of class indices over that of 255, from which 255 marks a border


@dataclass(frozen=True, eq=False)
class MaskReading:
    """A mask and the kind of its file.

    Attributes:
        mask: uint8 [H, W], 1 on the defect.
        kind: `binary`: two values, or an index for each defect category; `labels`: several flat shades or colours, all
            of which are taken as defect; `indexed`: small class indices,
            with 255 for pixels to be ignored; `soft`: anti-aliased or JPEG, thresholded at half of the brightest value.
        levels: Number of different grey levels.
    """

    mask: Pixels
    kind: MaskKind
    levels: int


def read_mask(record: Record, shape: tuple[int, int]) -> Pixels:
    """Read the mask of a record as uint8 [H, W], 1 on the defect.

    Args:
        record: If it is a good image without a mask, the result is 0 everywhere.
        shape: Height and width of the record's image.

    Raises:
        DataError: A defect image has no mask, or the mask is damaged, not of the size of the image, or a photo.
    """
    if record.mask is None and record.defect is None:
        return np.zeros(shape, np.uint8)
    return examine_mask(record, shape).mask


def examine_mask(record: Record, shape: tuple[int, int]) -> MaskReading:
    """Like `read_mask`, but also says whether the file was binary.

    Raises:
        DataError: As for `read_mask`, and if a good image has no mask.
    """
    if record.mask is None:
        raise DataError(f"{record.image}: no mask for this {record.defect} image; add one or remove the image")
    if isinstance(record.mask, CocoMask):
        reading = MaskReading(record.mask.rasterise(), "binary", 2)
        origin = f"{record.mask.file} (image {record.mask.image_id})"
    else:
        reading = _threshold(_brightness(open_image(record.mask), record.mask), record.mask)
        origin = str(record.mask)
    if reading.mask.shape != shape:
        (height, width), (image_height, image_width) = reading.mask.shape, shape
        raise DataError(
            f"{origin}: mask is {width}x{height}, but its image {record.image.name} is {image_width}x{image_height}; "
            "export the mask at the size of the image"
        )
    return reading


def _brightness(image: Image.Image, path: Path) -> Pixels:
    """How strongly each pixel of a mask is marked: uint8 [H, W], the maximum over the channels.

    The luma would not do: that of a mask painted in pure blue is only 29.
    """
    refuse_float(image, path)
    if is_16_bit(image):
        # A 16-bit mask may hold an index (0, 1, 2) or use the full range: keep whichever byte is used.
        values = np.asarray(image)
        return values.astype(np.uint8) if values.min() >= 0 and values.max() <= 255 else high_byte(image, path)
    if image.mode == "1":
        return np.array(image.convert("L"))
    if has_alpha(image):
        rgba = np.array(image.convert("RGBA"))
        alpha = rgba[:, :, 3]
        if alpha.min() < alpha.max():
            # Drawn on a transparent layer. If the drawing is black, only its opacity shows it.
            drawn = to_rgb(image, path).max(axis=2)
            return drawn if drawn.any() else alpha
        return np.ascontiguousarray(rgba[:, :, :3].max(axis=2))
    if image.mode == "L":
        return np.array(image)
    return np.ascontiguousarray(np.array(image.convert("RGB")).max(axis=2))


def _threshold(values: Pixels, path: Path) -> MaskReading:
    """Turn grey levels [H, W] into a mask and recognise the kind of file.

    Raises:
        DataError: It is a photo or a score map.
    """
    counts = np.bincount(values.ravel(), minlength=256)
    shades = np.flatnonzero(counts)
    levels, brightest = len(shades), int(shades[-1])
    if levels == 1:
        return MaskReading(np.full(values.shape, brightest > 0, np.uint8), "binary", levels)
    if levels == 2:
        return MaskReading((values == brightest).astype(np.uint8), "binary", levels)
    if brightest <= _FEW_LEVELS:  # an index for each defect category, as in VisA
        return MaskReading((values > 0).astype(np.uint8), "binary", levels)
    if brightest == 255 and int(shades[-2]) <= _FEW_LEVELS and levels <= _FEW_LEVELS:
        # Class indices with a border of 255 to be ignored, as in Pascal VOC, if the indices cover an area; specks of
        # nearly black beside white are what JPEG leaves of black.
        indexed = (values > 0) & (values < 255)
        if int(indexed.sum()) >= _INDEXED * int((values == 255).sum()):
            return MaskReading(indexed.astype(np.uint8), "indexed", levels)
    between = (values > brightest // 10) & (values < brightest - brightest // 10)
    if levels > _FEW_LEVELS and between.mean() > _PHOTO_SHARE:
        raise DataError(
            f"{path}: {levels} grey levels all over make this a photo or a score map, not a mask; "
            "save the defect as white on black"
        )
    # The shades of a label map fill areas; those of anti-aliasing and JPEG occur along the border of the defect only.
    kernel = np.ones((3, 3), np.uint8)
    flat = between & (cv2.erode(values, kernel) == cv2.dilate(values, kernel))
    if levels <= _FEW_LEVELS and flat.sum() > 0.05 * np.count_nonzero(values):
        return MaskReading((values > 0).astype(np.uint8), "labels", levels)
    return MaskReading((values >= (brightest + 1) // 2).astype(np.uint8), "soft", levels)
