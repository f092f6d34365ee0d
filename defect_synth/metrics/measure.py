"""Everything that is measured about each image, once, and kept: features of image and crop, mask shape, agreement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from defect_synth.data.square import fit_to_square
from defect_synth.errors import ConfigError
from defect_synth.metrics.agreement import change, outline_contrast
from defect_synth.metrics.array_cache import ArrayCache
from defect_synth.metrics.crops import crops_around
from defect_synth.metrics.features import FeatureExtractor
from defect_synth.metrics.mask_realism import mask_shapes
from defect_synth.samples import DefectSample, DefectSource, Pixels, content_digest

VIEWS = ("image", "crop")
CHUNK = 64  # samples drawn, measured and stored at a time


@dataclass(frozen=True, eq=False)
class Measured:
    """What is known about a set of N images.

    Attributes:
        features: (name of the extractor, `image` or `crop`) -> float32 [N, D].
        shapes: Of `mask_shapes`, [N, 6].
        changes: Of `change`, [N, 3]; NaN where there is no clean image.
        contrasts: Of `outline_contrast`, [N].
    """

    features: dict[tuple[str, str], Tensor]
    shapes: NDArray[np.float64]
    changes: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.contrasts)

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """One set of several, in order."""
        return cls(
            features={key: torch.cat([part.features[key] for part in parts]) for key in parts[0].features},
            shapes=np.concatenate([part.shapes for part in parts]),
            changes=np.concatenate([part.changes for part in parts]),
            contrasts=np.concatenate([part.contrasts for part in parts]),
        )


class Measurer:
    """Measures images by the same yardsticks and remembers the results.

    Args:
        extractors: Each with a name of its own.
        resolution: Images of another size are fitted to squares of this side.
        cache: Where results are kept, by the digests of source, extractors and images.
        device: Where images are put before extractors see them.

    Raises:
        ConfigError: Two extractors of one name.
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
        self._crop = min(resolution, 128)
        self._cache = cache
        self._device = device
        self._settings = [resolution, self._crop, *((extractor.name, extractor.digest) for extractor in extractors)]

    def measure(self, images: Pixels, masks: Pixels, cleans: Pixels | None = None) -> Measured:
        """uint8 [N, R, R, 3], masks [N, R, R] and, where there are any, clean images [N, R, R, 3]."""
        content = content_digest("images", [images, masks] if cleans is None else [images, masks, cleans])
        key = ["content", content, self._settings]
        return self._unpacked(self._cache.get_or_compute(key, lambda: self._compute(images, masks, cleans)))

    def samples(
        self, source: DefectSource, defect: str, seeds: Sequence[int], *, keep_images: int = 0
    ) -> Iterator[tuple[Measured, Tensor | None]]:
        """Draw, measure and forget, chunk by chunk; a chunk that is known is not drawn.

        Args:
            source: Its digest is part of the keys under which results are stored.
            defect: One of its defects.
            seeds: In order.
            keep_images: Number of samples, from the first on, whose images are also wanted.

        Yields:
            The measurements of a chunk, and its images uint8 [n, 3, R, R] or None.
        """
        for start in range(0, len(seeds), CHUNK):
            part = [int(seed) for seed in seeds[start : start + CHUNK]]
            wanted = start < keep_images
            key = ["source", source.digest, defect, part, self._settings]
            known = self._cache.get(key)
            if known is not None and not wanted:
                yield self._unpacked(known), None
                continue
            images, masks, cleans = self._stacked(source.sample(defect, part))
            if known is None:
                known = self._compute(images, masks, cleans)
                self._cache.put(key, known)
            yield self._unpacked(known), as_tensor(images)[: keep_images - start] if wanted else None

    def _stacked(self, samples: Sequence[DefectSample]) -> tuple[Pixels, Pixels, Pixels | None]:
        size = (self.resolution, self.resolution)
        fitted = [
            (sample.image, sample.mask, sample.clean)
            if sample.mask.shape == size
            else (
                *fit_to_square(sample.image, sample.mask, self.resolution, "letterbox")[:2],
                None if sample.clean is None else fit_to_square(sample.clean, None, self.resolution, "letterbox")[0],
            )
            for sample in samples
        ]
        cleans = [clean for _, _, clean in fitted if clean is not None]
        return (
            np.stack([image for image, _, _ in fitted]),
            np.stack([mask for _, mask, _ in fitted]),
            np.stack(cleans) if len(cleans) == len(fitted) else None,
        )

    def _compute(self, images: Pixels, masks: Pixels, cleans: Pixels | None) -> dict[str, Tensor]:
        views = {"image": images, "crop": crops_around(images, masks, self._crop)[0]}
        found = {
            f"{view}/{extractor.name}": extractor(as_tensor(pixels).to(self._device)).float().cpu()
            for extractor in self._extractors
            for view, pixels in views.items()
        }
        changes = (
            np.full((len(images), 3), np.nan)
            if cleans is None
            else np.array([change(*each) for each in zip(images, cleans, masks, strict=True)])
        )
        contrasts = np.array([outline_contrast(*each) for each in zip(images, masks, strict=True)])
        found |= {
            "shapes": torch.from_numpy(mask_shapes(masks)),
            "changes": torch.from_numpy(changes),
            "contrasts": torch.from_numpy(contrasts),
        }
        return found

    def _unpacked(self, arrays: dict[str, Tensor]) -> Measured:
        return Measured(
            features={(e.name, view): arrays[f"{view}/{e.name}"] for e in self._extractors for view in VIEWS},
            shapes=arrays["shapes"].numpy(),
            changes=arrays["changes"].numpy(),
            contrasts=arrays["contrasts"].numpy(),
        )


def as_tensor(images: Pixels) -> Tensor:
    """uint8 [N, H, W, 3] -> uint8 [N, 3, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
