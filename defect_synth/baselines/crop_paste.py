"""Crop&Paste as the paper compares with it: a finite number of images, with defects where they happened to be.

Lin et al. (ICME 2021) crop a defect out of a defect image and paste it onto a normal one. Duan et al. (2023, Sec. 4.2)
point out two limits, and both are kept here: N normal and N_d defect images give N x N_d results and no more, and a
pasted defect may lie beside the object, because nothing looks where the object is.
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
    """A `FiniteSource`: each defect on each normal image, at the place where it was in its own image.

    Seeds 0 .. N x N_d - 1 are the pairs in a random order that is fixed for each defect, so that the first few already
    show many objects and many defects.

    Args:
        category: Object category.
        defects: Defect category -> (images uint8 [N_d, H, W, 3], masks uint8 [N_d, H, W], 1 on the defect).
        normal: Normal images, uint8 [N, H, W, 3].

    Raises:
        DataError: There is no normal image, a defect has no images, or sizes differ.
    """

    method = "crop_paste"

    def __init__(self, category: str, defects: Mapping[str, tuple[Pixels, Pixels]], normal: Pixels) -> None:
        if len(normal) == 0:
            raise DataError("Crop&Paste needs at least one normal image to paste on, got none")
        for defect, (images, masks) in defects.items():
            if len(images) == 0 or images.shape[1:] != normal.shape[1:] or masks.shape != images.shape[:3]:
                raise DataError(
                    f"Crop&Paste needs images and masks of {defect} of the size of the normal images, "
                    f"{list(normal.shape[1:])}, got {list(images.shape)} and {list(masks.shape)}"
                )
        self._category = category
        self._crops = dict(sorted(defects.items()))
        self._normal = normal
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
        """Identifies the images, the masks and the normal images."""
        pairs = [array for pair in self._crops.values() for array in pair]
        return content_digest(f"{self.method} {self._category} {' '.join(self._crops)}", [*pairs, self._normal])

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The N x N_d seeds that exist.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        return tuple(range(len(self._order(defect))))

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One pair per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: A seed that does not exist.
        """
        order = self._order(defect)
        images, masks = self._crops[defect]
        samples = []
        for seed in seeds:
            if not 0 <= seed < len(order):
                raise DataError(
                    f"Crop&Paste has {len(order)} images of {defect} ({len(self._normal)} normal x {len(images)} "
                    f"defect images) and no seed {seed}; ask for seeds 0 to {len(order) - 1}"
                )
            background, crop = divmod(int(order[seed]), len(images))
            clean, mask = self._normal[background].copy(), masks[crop].copy()
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
            count = len(self._normal) * len(self._crops[defect][0])
            self._orders[defect] = np.argsort(rng.random(count), kind="stable").astype(np.int64)
        return self._orders[defect]
