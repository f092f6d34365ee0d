"""Records -> arrays in memory, as training wants them."""

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
        names: The records' names, in the order of the arrays.
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
        """SHA-256 of shape, images and masks, in hexadecimal; file names and folders do not matter."""
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
    """Read records and fit them to squares, in their order.

    Args:
        records: Good and defect images alike.
        resolution: Side of the squares.
        how: As for `images.fit`.
        progress: Called with (images done, images in all) after each image.

    Raises:
        DataError: A file that cannot be read, a missing mask, or a mask that does not fit its image.
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
            pool.shutdown(wait=False, cancel_futures=True)  # do not read the rest of the folder first
            raise
    return ImageArrays(images, masks, tuple(record.name for record in records))
