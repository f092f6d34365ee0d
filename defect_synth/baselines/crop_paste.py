"""Crop&Paste as the paper compares with it: a finite number of images, defects wherever they happened to be.

Lin et al. (ICME 2021) crop the defect out of a defect image and paste it onto a defect-free one. Duan et al. (2023,
Sec. 4.2) point out its two limits, both kept here: with N_g good and N_d defect images there are N_g x N_d results and
no more, and pasted defects may lie beside the object, because nothing looks where that is.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, Pixels, Provenance, content_digest


class CropPaste:
    """A finite `DefectSource`: every defect on every good image, at the place it had in its own.

    Seeds 0 .. N_g x N_d - 1 are the pairs in an order drawn once for each defect, so that a few of them already show
    many objects and many defects.

    Args:
        category: Object category.
        defects: Defect -> (images uint8 [N_d, H, W, 3], masks uint8 [N_d, H, W], 1 on the defect).
        good: Defect-free images, uint8 [N_g, H, W, 3].

    Raises:
        DataError: No good image, a defect without images, or different sizes.
    """

    method = "crop_paste"

    def __init__(self, category: str, defects: Mapping[str, tuple[Pixels, Pixels]], good: Pixels) -> None:
        if len(good) == 0:
            raise DataError("Crop&Paste needs at least one good image to paste on, got none")
        for defect, (images, masks) in defects.items():
            if len(images) == 0 or images.shape[1:] != good.shape[1:] or masks.shape != images.shape[:3]:
                raise DataError(
                    f"Crop&Paste needs images and masks of {defect} of the good images' size {list(good.shape[1:])}, "
                    f"got {list(images.shape)} and {list(masks.shape)}"
                )
        self._category = category
        self._crops = dict(sorted(defects.items()))
        self._good = good
        self._orders: dict[str, NDArray[np.int64]] = {}

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(self._crops)

    @cached_property
    def digest(self) -> str:
        """Identifies the images, masks and good images."""
        pairs = [array for pair in self._crops.values() for array in pair]
        return content_digest(f"{self.method} {self._category} {' '.join(self._crops)}", [*pairs, self._good])

    def seeds(self, defect: str) -> tuple[int, ...]:
        """All the seeds there are: N_g x N_d of them.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        return tuple(range(len(self._order(defect))))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One pair per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: A seed for which there is no pair left.
        """
        order = self._order(defect)
        images, masks = self._crops[defect]
        samples = []
        for seed in seeds:
            if not 0 <= seed < len(order):
                raise DataError(
                    f"Crop&Paste has {len(order)} images of {defect} ({len(self._good)} good x {len(images)} defect "
                    f"images) and no seed {seed}; ask for seeds 0 to {len(order) - 1}"
                )
            background, crop = divmod(int(order[seed]), len(images))
            clean, mask = self._good[background].copy(), masks[crop].copy()
            samples.append(
                DefectSample(
                    image=np.where(mask[..., None] > 0, images[crop], clean),
                    mask=mask,
                    defect=defect,
                    provenance=Provenance(
                        self.method, self._category, defect, int(seed),
                        parameters={"good_image": background, "defect_image": crop},
                    ),
                    clean=clean,
                )
            )  # fmt: skip
        return samples

    def _order(self, defect: str) -> NDArray[np.int64]:
        if defect not in self._crops:
            raise UnknownDefectError(defect, self._category, self.defects)
        if defect not in self._orders:
            rng = np.random.default_rng(zlib.crc32(defect.encode()))
            count = len(self._good) * len(self._crops[defect][0])
            self._orders[defect] = np.argsort(rng.random(count), kind="stable").astype(np.int64)
        return self._orders[defect]
