"""What is measured once for each image: features of the image and of a crop, mask shape, agreement of the mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.data.square import fit_to_square
from defect_synth.errors import ConfigError
from defect_synth.metrics.agreement import mask_change, outline_contrast
from defect_synth.metrics.array_cache import ArrayCache
from defect_synth.metrics.crops import crop_defects
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.metrics.mask_realism import mask_shapes
from defect_synth.samples import DefectSample, DefectSource, Pixels, content_digest

VIEWS = ("image", "crop")
"""What features are computed of: the whole image, and the defect with its surroundings."""

CHUNK = 64
"""Samples that are drawn, measured and stored at a time."""

_CROP_SIDE = 128


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of N images.

    Attributes:
        features: float32 [N, D] by (name of the extractor, view).
        shapes: float64 [N, 6], see `mask_shapes`.
        changes: float64 [N, 3], see `mask_change`, of the images before they are resized; NaN without a clean image.
        contrasts: float64 [N], see `outline_contrast`.
    """

    features: dict[tuple[str, str], Tensor]
    shapes: NDArray[np.float64]
    changes: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.contrasts)

    @classmethod
    def join(cls, parts: Sequence[Measurements]) -> Measurements:
        """The measurements of several sets of images, in order."""
        return cls(
            features={key: torch.cat([part.features[key] for part in parts]) for key in parts[0].features},
            shapes=np.concatenate([part.shapes for part in parts]),
            changes=np.concatenate([part.changes for part in parts]),
            contrasts=np.concatenate([part.contrasts for part in parts]),
        )


class Measurer:
    """Measures images with the same extractors and stores the results.

    Args:
        extractors: Feature extractors with different names.
        resolution: Images of another size are letterboxed to squares of this side.
        cache: Where results are stored, under the digests of source, extractors and images.
        device: Where images are sent before extractors see them.

    Raises:
        ConfigError: Two extractors have the same name.
    """

    def __init__(
        self, extractors: Sequence[FeatureExtractor], resolution: int, cache: ArrayCache, device: str = "cpu"
    ) -> None:
        names = [extractor.name for extractor in extractors]
        if len(set(names)) != len(names):
            raise ConfigError(f"extractors must have different names, got {', '.join(names)}")
        self._extractors = tuple(extractors)
        self.names = tuple(names)
        self.resolution = resolution
        self._crop_side = min(resolution, _CROP_SIDE)
        self._cache = cache
        self._device = device
        self._settings = [resolution, self._crop_side, *((e.name, e.digest) for e in extractors)]

    def measure(self, images: Pixels, masks: Pixels, cleans: Pixels | None = None) -> Measurements:
        """Measure given images.

        Args:
            images: uint8 [N, R, R, 3].
            masks: uint8 [N, R, R] of 0 and 1.
            cleans: uint8 [N, R, R, 3], the same objects without the defects, or None.
        """
        content = content_digest("images", [images, masks] if cleans is None else [images, masks, cleans])
        key = ["content", content, self._settings]

        def compute() -> dict[str, Tensor]:
            pairs = [None] * len(images) if cleans is None else cleans
            return self._compute(images, masks, _changes(images, pairs, masks))

        return self._unpack(self._cache.get_or_compute(key, self._stored_names, len(images), compute))

    def samples(
        self, source: DefectSource, defect: str, seeds: Sequence[int], *, return_images: int = 0
    ) -> Iterator[tuple[Measurements, Tensor | None]]:
        """Draw, measure and discard samples, 64 at a time; those whose results are stored are not drawn.

        Args:
            source: Its digest is part of the keys under which results are stored.
            defect: One of its defect categories.
            seeds: The samples, in order.
            return_images: Number of samples, from the first on, whose images are returned as well.

        Yields:
            The measurements of up to 64 samples, and their images uint8 [n, 3, R, R] or None.
        """
        for start in range(0, len(seeds), CHUNK):
            part = [int(seed) for seed in seeds[start : start + CHUNK]]
            wanted = start < return_images
            key = ["source", source.digest, defect, part, self._settings]
            stored = self._cache.get(key, self._stored_names, len(part))
            if stored is not None and not wanted:
                yield self._unpack(stored), None
                continue
            samples = source.sample(defect, part)
            images, masks = self._stack(samples)
            if stored is None:
                # Of the samples as they are: resizing would spread a change beyond its mask.
                changes = _changes([s.image for s in samples], [s.clean for s in samples], [s.mask for s in samples])
                stored = self._compute(images, masks, changes)
                self._cache.put(key, stored)
            yield self._unpack(stored), to_tensor(images)[: return_images - start] if wanted else None

    @property
    def _stored_names(self) -> tuple[str, ...]:
        return (*(f"{view}/{name}" for view in VIEWS for name in self.names), "shapes", "changes", "contrasts")

    def _stack(self, samples: Sequence[DefectSample]) -> tuple[Pixels, Pixels]:
        """Images and masks, all of the resolution."""
        size = (self.resolution, self.resolution)
        fitted = [
            (sample.image, sample.mask)
            if sample.mask.shape == size
            else fit_to_square(sample.image, sample.mask, self.resolution, "letterbox")[:2]
            for sample in samples
        ]
        return np.stack([image for image, _ in fitted]), np.stack([mask for _, mask in fitted])

    def _compute(self, images: Pixels, masks: Pixels, changes: NDArray[np.float64]) -> dict[str, Tensor]:
        views = {"image": images, "crop": crop_defects(images, masks, self._crop_side)[0]}
        arrays = {
            f"{view}/{extractor.name}": extractor(to_tensor(pixels).to(self._device)).float().cpu()
            for extractor in self._extractors
            for view, pixels in views.items()
        }
        contrasts = np.array([outline_contrast(*each) for each in zip(images, masks, strict=True)])
        return arrays | {
            "shapes": torch.from_numpy(mask_shapes(masks)),
            "changes": torch.from_numpy(changes),
            "contrasts": torch.from_numpy(contrasts),
        }

    def _unpack(self, arrays: dict[str, Tensor]) -> Measurements:
        return Measurements(
            features={(name, view): arrays[f"{view}/{name}"] for name in self.names for view in VIEWS},
            shapes=arrays["shapes"].numpy(),
            changes=arrays["changes"].numpy(),
            contrasts=arrays["contrasts"].numpy(),
        )


def _changes(
    images: Sequence[Pixels] | Pixels, cleans: Sequence[Pixels | None] | Pixels, masks: Sequence[Pixels] | Pixels
) -> NDArray[np.float64]:
    """`mask_change` of each image, float64 [N, 3]; NaN where any image has no clean one."""
    if any(clean is None for clean in cleans):
        return np.full((len(images), 3), np.nan)
    return np.array([mask_change(*each) for each in zip(images, cleans, masks, strict=True)])


def to_tensor(images: Pixels) -> Tensor:
    """uint8 [N, H, W, 3] -> uint8 [N, 3, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
