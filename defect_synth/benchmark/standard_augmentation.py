"""Augmentation without a generator: real defect images transformed by an ordinary albumentations pipeline.

This is the arm that a generator has to beat. No other file of the benchmark imports albumentations.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from defect_synth.errors import UnknownDefectError
from defect_synth.samples import DefectSample, Pixels, Provenance, content_digest


def pipeline() -> Any:
    """An albumentations pipeline of geometry, colour, blur and noise at the usual strengths; not in the paper."""
    import albumentations as A

    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Affine(
                scale=(0.85, 1.15), translate_percent=(-0.08, 0.08), rotate=(-180, 180), shear=(-8, 8),
                border_mode=cv2.BORDER_REFLECT, p=0.9,
            ),
            A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(-0.02, 0.02), p=0.8),
            A.GaussianBlur(blur_limit=(3, 3), sigma_limit=(0.1, 0.8), p=0.2),
            A.GaussNoise(std_range=(0.01, 0.04), p=0.2),
        ]
    )  # fmt: skip


class StandardAugmentation:
    """A `DefectSource` of real defect images, each transformed by the pipeline; the mask follows the geometry.

    Args:
        category: Object category.
        defects: Class -> (images uint8 [N, H, W, 3], masks uint8 [N, H, W], 1 on the defect).
    """

    method = "standard_augmentation"

    def __init__(self, category: str, defects: Mapping[str, tuple[Pixels, Pixels]]) -> None:
        self._category = category
        self._real = dict(sorted(defects.items()))
        self._pipeline = pipeline()

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Classes, sorted."""
        return tuple(self._real)

    @cached_property
    def digest(self) -> str:
        """Identifies the real images and masks."""
        pairs = [array for pair in self._real.values() for array in pair]
        return content_digest(f"{self.method} {self._category} {' '.join(self._real)}", pairs)

    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One transformed image per seed, in order.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        if defect not in self._real:
            raise UnknownDefectError(defect, self._category, self.defects)
        return [self._sample_one(defect, int(seed)) for seed in seeds]

    def _sample_one(self, defect: str, seed: int) -> DefectSample:
        images, masks = self._real[defect]
        rng = np.random.default_rng([seed, zlib.crc32(defect.encode())])
        chosen = int(rng.integers(len(images)))
        state = int(rng.integers(2**31))
        self._pipeline.set_random_state(np.random.default_rng(state), random.Random(state))
        out = self._pipeline(image=images[chosen].copy(), mask=masks[chosen].copy())
        return DefectSample(
            image=np.ascontiguousarray(out["image"]),
            mask=(np.ascontiguousarray(out["mask"]) > 0).astype(np.uint8),
            defect=defect,
            provenance=Provenance(self.method, self._category, defect, seed, parameters={"image": chosen}),
        )
