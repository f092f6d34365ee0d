"""Load records into arrays in memory, for training."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from defect_synth.data.images import read_image
from defect_synth.data.masks import read_mask
from defect_synth.data.records import Record
from defect_synth.data.square import fit_to_square
from defect_synth.samples import Pixels


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """Square images with their masks.

    Attributes:
        images: uint8 [N, R, R, 3], RGB.
        masks: uint8 [N, R, R], 1 on the defect; 0 everywhere for good images.
        names: Names of the records, in the order of the arrays.
    """

    images: Pixels
    masks: Pixels
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        count, side = len(self.names), self.images.shape[1] if self.images.ndim == 4 else 0
        if self.images.dtype != np.uint8 or self.images.shape != (count, side, side, 3):
            raise ValueError(f"images must be uint8 [{count}, R, R, 3], got {list(self.images.shape)}")
        if self.masks.dtype != np.uint8 or self.masks.shape != (count, side, side):
            raise ValueError(f"masks must be uint8 [{count}, {side}, {side}], got {list(self.masks.shape)}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def resolution(self) -> int:
        """Side R of the square images."""
        return int(self.images.shape[1])

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the shape, the images and the masks; file names and folders do not matter."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(self.images.tobytes())
        digest.update(self.masks.tobytes())
        return digest.hexdigest()


def load(
    records: Sequence[Record],
    resolution: int,
    how: Literal["letterbox", "crop"],
    progress: Callable[[int, int], None] | None = None,
) -> ImageArrays:
    """Read records and fit them to squares.

    Args:
        records: Records of good and defect images.
        resolution: Side of the squares in pixels.
        how: See `square.fit_to_square`.
        progress: Called with (images done, images in all) after each image.

    Raises:
        DataError: A file cannot be read, a mask is missing, or a mask does not have the size of its image.
    """
    images = np.empty((len(records), resolution, resolution, 3), np.uint8)
    masks = np.empty((len(records), resolution, resolution), np.uint8)

    def read(i: int) -> None:
        image = read_image(records[i].image)
        mask = read_mask(records[i], (image.shape[0], image.shape[1]))
        images[i], masks[i], _ = fit_to_square(image, mask, resolution, how)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        try:
            for done, _ in enumerate(pool.map(read, range(len(records))), start=1):
                if progress is not None:
                    progress(done, len(records))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # do not read the remaining files first
            raise
    return ImageArrays(images, masks, tuple(record.name for record in records))
