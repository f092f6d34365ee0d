"""Read images and masks of every kind that a camera or an annotation tool writes, and fit them to a square."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from defect_synth.data.coco_mask import CocoMask
from defect_synth.data.records import Record
from defect_synth.errors import DataError
from defect_synth.samples import Pixels

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")

MaskKind = Literal["binary", "labels", "soft"]

# A mask with more grey levels than this is a photo or a map of scores if so much of it lies between black and white.
_FEW_LEVELS = 32
_PHOTO_SHARE = 0.25


def read_image(path: Path) -> Pixels:
    """Read an image file as uint8 [H, W, 3], RGB.

    Grey becomes three equal channels; palettes are looked up; EXIF rotation is applied. 16-bit files keep their high
    byte: 65535 becomes 255 in every file alike. A 12-bit camera that stores 0..4095 in 16 bits therefore reads as
    almost black, which `check` reports; guessing the range from each image's maximum would give every image of a data
    set its own brightness. Transparent pixels are laid over black, the usual background of machine vision: what an
    editor leaves under them is arbitrary.

    Raises:
        DataError: Missing, damaged, several pages, or pixels without an agreed range (32 bits).
    """
    return _rgb(_open(path), path)


@dataclass(frozen=True, eq=False)
class MaskReading:
    """A mask and what its file looked like.

    Attributes:
        mask: uint8 [H, W], 1 on the defect.
        kind: `binary`: two values, or an index for each kind of defect; `labels`: several flat shades or colours, all
            taken as defect; `soft`: anti-aliased or JPEG, cut at half of its brightest value.
        levels: Number of different brightnesses.
    """

    mask: Pixels
    kind: MaskKind
    levels: int


def read_mask(record: Record, shape: tuple[int, int]) -> Pixels:
    """The mask of a record as uint8 [H, W] with 1 on the defect.

    Args:
        record: A good image without a mask has one that is 0 everywhere.
        shape: Height and width of the record's image.

    Raises:
        DataError: A defect image without a mask, a damaged file, another size than the image, or a photo.
    """
    if record.mask is None and record.defect is None:
        return np.zeros(shape, np.uint8)
    return examine_mask(record, shape).mask


def examine_mask(record: Record, shape: tuple[int, int]) -> MaskReading:
    """`read_mask` that also tells whether the file was binary.

    Raises:
        DataError: As `read_mask`, and for a good image without a mask.
    """
    if record.mask is None:
        raise DataError(f"{record.image}: no mask for this {record.defect} image; add one or remove the image")
    if isinstance(record.mask, CocoMask):
        reading = MaskReading(record.mask.rasterise(), "binary", 2)
        origin = f"{record.mask.file} (image {record.mask.image_id})"
    else:
        reading = _threshold(_brightness(_open(record.mask), record.mask), record.mask)
        origin = str(record.mask)
    if reading.mask.shape != shape:
        (height, width), (image_height, image_width) = reading.mask.shape, shape
        raise DataError(
            f"{origin}: mask is {width}x{height}, but its image {record.image.name} is {image_width}x{image_height}; "
            "export the mask at the size of the image"
        )
    return reading


def _open(path: Path) -> Image.Image:
    """Decode a file completely, upright."""
    try:
        with Image.open(path, formats=_FORMATS) as file:
            # Phones write JPEGs with a preview as second picture (MPO); of a TIFF, no page is more right than another.
            pages = getattr(file, "n_frames", 1)
            if pages > 1 and file.format != "MPO":
                raise DataError(f"{path}: holds {pages} pages; save each as an image of its own")
            return ImageOps.exif_transpose(file)
    except FileNotFoundError:
        raise DataError(f"{path}: file does not exist; correct its path or remove its entry") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {2 * (Image.MAX_IMAGE_PIXELS or 0)} pixels; cut it into tiles") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{path}: not an image of 8 or 16 bits in PNG, JPEG, BMP, TIFF, WebP or PNM; export it again or remove it"
        ) from None
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file drives them into
        # An error number means the file system (no permission, a folder); without one it is the content.
        reason = getattr(error, "strerror", None) or "damaged or cut short"
        raise DataError(f"{path}: cannot be read ({reason}); export it again or remove it") from error


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I")


def _high_byte(image: Image.Image, path: Path) -> Pixels:
    """16-bit grey -> uint8 [H, W]."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise DataError(f"{path}: 32-bit pixels have no agreed range; save it with 8 or 16 bits")
    high: Pixels = (values >> 8).astype(np.uint8)
    return high


def _refuse_float(image: Image.Image, path: Path) -> None:
    if image.mode == "F":
        raise DataError(f"{path}: floating-point pixels have no agreed range; save it with 8 or 16 bits")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def _rgb(image: Image.Image, path: Path) -> Pixels:
    _refuse_float(image, path)
    if _is_deep(image):
        return np.repeat(_high_byte(image, path)[:, :, None], 3, axis=2)
    if not _has_alpha(image):
        return np.array(image.convert("RGB"))
    rgba = np.array(image.convert("RGBA"))
    rgb, alpha = rgba[:, :, :3], rgba[:, :, 3:].astype(np.uint16)
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    over_black: Pixels = ((rgb * alpha + 127) // 255).astype(np.uint8)
    return over_black


def _brightness(image: Image.Image, path: Path) -> Pixels:
    """How strongly each pixel of a mask is marked: uint8 [H, W], the largest of its channels.

    The largest channel and not the luma, because a mask painted in pure blue has a luma of 29.
    """
    _refuse_float(image, path)
    if _is_deep(image):
        # A 16-bit mask may hold an index (0, 1, 2) as well as the full range: keep whichever bits are used.
        values = np.asarray(image)
        return values.astype(np.uint8) if values.min() >= 0 and values.max() <= 255 else _high_byte(image, path)
    if image.mode == "1":
        return np.array(image.convert("L"))
    if _has_alpha(image):
        rgba = np.array(image.convert("RGBA"))
        alpha = rgba[:, :, 3]
        if alpha.min() < alpha.max():
            # Drawn on a transparent layer. Where the drawing is black, only its opacity shows it.
            drawn = _rgb(image, path).max(axis=2)
            return drawn if drawn.any() else alpha
        return np.ascontiguousarray(rgba[:, :, :3].max(axis=2))
    if image.mode == "L":
        return np.array(image)
    return np.ascontiguousarray(np.array(image.convert("RGB")).max(axis=2))


def _threshold(values: Pixels, path: Path) -> MaskReading:
    counts = np.bincount(values.ravel(), minlength=256)
    shades = np.flatnonzero(counts)
    levels, brightest = len(shades), int(shades[-1])
    if levels == 1:
        return MaskReading(np.full(values.shape, brightest > 0, np.uint8), "binary", levels)
    if levels == 2:
        return MaskReading((values == brightest).astype(np.uint8), "binary", levels)
    if brightest <= _FEW_LEVELS:  # an index for each kind of defect, as in VisA
        return MaskReading((values > 0).astype(np.uint8), "binary", levels)
    between = (values > brightest // 10) & (values < brightest - brightest // 10)
    if levels > _FEW_LEVELS and between.mean() > _PHOTO_SHARE:
        raise DataError(
            f"{path}: {levels} grey levels all over make this a photo or a map of scores, not a mask; "
            "save the defect as white on black"
        )
    # Shades of a label map fill areas; those of anti-aliasing and JPEG only line the border of the defect.
    kernel = np.ones((3, 3), np.uint8)
    flat = between & (cv2.erode(values, kernel) == cv2.dilate(values, kernel))
    if levels <= _FEW_LEVELS and flat.sum() > 0.05 * np.count_nonzero(values):
        return MaskReading((values > 0).astype(np.uint8), "labels", levels)
    return MaskReading((values >= (brightest + 1) // 2).astype(np.uint8), "soft", levels)


@dataclass(frozen=True)
class Placement:
    """Where a rectangular image went in a square, and the way back.

    Attributes:
        how: `letterbox`: all of the image, borders added; `crop`: a square part of it.
        original: Height and width before.
        resolution: Side of the square.
        scale: Square pixels for one original pixel.
        offset: Top and left of the scaled image in the square: >= 0 for letterbox, <= 0 for crop.
    """

    how: Literal["letterbox", "crop"]
    original: tuple[int, int]
    resolution: int
    scale: float
    offset: tuple[int, int]

    @property
    def scaled(self) -> tuple[int, int]:
        """Height and width of the whole image at `scale`."""
        height, width = self.original
        return max(1, round(height * self.scale)), max(1, round(width * self.scale))

    def restore(self, array: NDArray[Any], outside: NDArray[Any] | None = None) -> NDArray[Any]:
        """Bring a result on the square back to the original size and aspect.

        Args:
            array: [R, R] or [R, R, C]. A uint8 array of two dimensions is a mask of 0 and 1 and stays one.
            outside: What to show where a crop has cut away, of the original size; None: 0.

        Returns:
            [H, W] or [H, W, C] with the dtype of `array`.
        """
        if array.shape[:2] != (self.resolution, self.resolution):
            raise ValueError(f"expected [{self.resolution}, {self.resolution}, ...], got {list(array.shape)}")
        height, width = self.scaled
        top, left = self.offset
        if self.how == "letterbox":
            return _resize(array[top : top + height, left : left + width], self.original)
        canvas = np.zeros((height, width, *array.shape[2:]), array.dtype)
        window = (slice(-top, self.resolution - top), slice(-left, self.resolution - left))
        canvas[window] = array
        result = _resize(canvas, self.original)
        if outside is not None:
            seen = np.zeros((height, width), np.uint8)
            seen[window] = 1
            inside = _resize(seen, self.original).astype(bool)
            result = np.where(inside if array.ndim == 2 else inside[:, :, None], result, outside).astype(array.dtype)
        return result


def fit(
    image: Pixels, mask: Pixels | None, resolution: int, how: Literal["letterbox", "crop"]
) -> tuple[Pixels, Pixels, Placement]:
    """Scale an image and its mask to a square without changing their aspect.

    Letterbox repeats the edge pixels outwards. A network then sees the background go on; black bars would be an edge
    that every image of the set has at the same place, which a discriminator learns before anything else, and mirrored
    borders would show defects a second time. The mask is repeated in the same way, so that it still tells the truth
    about a defect that touches the border.

    Crop takes the middle; for a defect image the window moves along the longer side by no more than it must for the
    defect to be inside.

    A mask pixel is defect where at least half of it is covered. Cracks that are thinner than a pixel of the square
    never reach that: each connected piece keeps at least its area, in its most covered pixels.

    Args:
        image: uint8 [H, W, 3].
        mask: uint8 [H, W] of 0 and 1; None: no defect.
        resolution: Side R of the square.
        how: `letterbox` keeps everything, `crop` fills the square.

    Returns:
        Image uint8 [R, R, 3], mask uint8 [R, R] of 0 and 1, and where they went.
    """
    original = (image.shape[0], image.shape[1])
    mask = np.zeros(original, np.uint8) if mask is None else mask
    side = max(original) if how == "letterbox" else min(original)
    centred = Placement(how, original, resolution, resolution / side, (0, 0))
    height, width = centred.scaled
    # floor division puts the odd pixel of a border at the bottom or right; of a crop, it is cut at the top or left
    top, left = (resolution - height) // 2, (resolution - width) // 2
    scaled, coverage = _resize(image, (height, width)), _resize(mask.astype(np.float32), (height, width))
    if how == "letterbox":
        pads = (top, resolution - height - top, left, resolution - width - left)
        square = cv2.copyMakeBorder(scaled, *pads, cv2.BORDER_REPLICATE)
        covered = cv2.copyMakeBorder(_binarise(coverage), *pads, cv2.BORDER_REPLICATE)
    else:
        binary = _binarise(coverage)
        top, left = _towards(binary.max(axis=1), top, resolution), _towards(binary.max(axis=0), left, resolution)
        window = (slice(-top, resolution - top), slice(-left, resolution - left))
        square, covered = np.ascontiguousarray(scaled[window]), np.ascontiguousarray(binary[window])
    return square, covered, Placement(how, original, resolution, resolution / side, (top, left))


def read_shrunk(record: Record, longest: int) -> tuple[Pixels, Pixels]:
    """Image uint8 [H, W, 3] and mask uint8 [H, W] of a record, all 0 for a good one, at most `longest` long.

    Raises:
        DataError: As for `read_image` and `read_mask`.
    """
    image = read_image(record.image)
    return shrunk(image, read_mask(record, (image.shape[0], image.shape[1])), longest)


def shrunk(image: Pixels, mask: Pixels, longest: int) -> tuple[Pixels, Pixels]:
    """An image [H, W, 3] and its mask [H, W] with a longer side of at most `longest`; smaller ones as they are.

    A mask that is not empty stays so.
    """
    side = max(image.shape[:2])
    if side <= longest:
        return image, mask
    size = (max(1, round(image.shape[1] * longest / side)), max(1, round(image.shape[0] * longest / side)))
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    limit = min(0.25, max(float(covered.max()), 1e-6))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), (covered >= limit).astype(np.uint8)


def _towards(marked: NDArray[Any], offset: int, resolution: int) -> int:
    """Offset (<= 0) nearest to `offset` whose window of `resolution` holds the marked stretch, or its middle."""
    places = np.flatnonzero(marked)
    if not len(places):
        return offset
    first, last = int(places[0]), int(places[-1]) + 1
    if last - first > resolution:
        first = last = (first + last) // 2
        first, last = first - resolution // 2, first - resolution // 2 + resolution
    start = min(max(-offset, last - resolution), first)
    return -min(max(start, 0), len(marked) - resolution)


def _resize(array: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Area average when shrinking (nothing aliases), cubic when enlarging; a uint8 mask is cut at half coverage."""
    if array.shape[:2] == size:
        return array.copy()
    shrinks = size[0] * size[1] < array.shape[0] * array.shape[1]
    if array.ndim == 2:
        # Linear and not cubic: coverage must stay within 0 and 1.
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized: NDArray[Any] = cv2.resize(array.astype(np.float32), size[::-1], interpolation=how)
        return (resized >= 0.5).astype(np.uint8) if array.dtype == np.uint8 else resized.astype(array.dtype)
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    image: NDArray[Any] = cv2.resize(array, size[::-1], interpolation=how)
    return image


def _binarise(coverage: NDArray[np.float32]) -> Pixels:
    """Coverage 0..1 [H, W] -> mask: half coverage, lowered for pieces that would lose more than half of their area."""
    mask = (coverage >= 0.5).astype(np.uint8)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats((coverage > 0).astype(np.uint8), connectivity=8)
    for piece in range(1, count):
        left, top, width, height = stats[piece, :4]
        box = (slice(top, top + height), slice(left, left + width))
        here = pieces[box] == piece
        values = coverage[box][here]
        area = max(1, round(float(values.sum())))
        if 2 * np.count_nonzero(values >= 0.5) <= area:
            threshold = np.partition(values, -area)[-area]
            mask[box][here & (coverage[box] >= threshold)] = 1
    return mask
