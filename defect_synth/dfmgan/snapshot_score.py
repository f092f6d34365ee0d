"""The score that chooses the best snapshot: the distance of its samples to images that training does not see."""

from __future__ import annotations

import torch
from torch import Tensor

from defect_synth.data.store import ImageArrays
from defect_synth.metrics.features import FeatureExtractor, RandomFeatures
from defect_synth.metrics.kid import feature_statistics, snapshot_score, standardise


class SnapshotScore:
    """Scores samples against validation images; lower is better. See `metrics.kid.snapshot_score`.

    Args:
        train: Training images, by whose features all features are standardised.
        validation: Images to compare with.
        features: How to describe an image; None: random convolutions.
        with_masks: Compare images together with their masks.
    """

    def __init__(
        self,
        train: ImageArrays,
        validation: ImageArrays,
        features: FeatureExtractor | None,
        *,
        with_masks: bool = False,
    ) -> None:
        self._extract = features or RandomFeatures()
        self.name = self._extract.name
        self._with_masks = with_masks
        self._mean, self._std = feature_statistics(self._features(*_tensors(train)))
        self._validation = self._features(*_tensors(validation))
        self._validation = standardise(self._validation, self._mean, self._std)

    def of(self, images: Tensor, masks: Tensor | None) -> float:
        """The score of images uint8 [N, 3, R, R] with masks uint8 [N, R, R] in {0, 1} or None."""
        features = standardise(self._features(images, masks), self._mean, self._std)
        return float(snapshot_score(features, self._validation))

    @torch.no_grad()
    def _features(self, images: Tensor, masks: Tensor | None) -> Tensor:
        return self._extract(images, masks if self._with_masks else None)


def _tensors(arrays: ImageArrays) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(arrays.images).permute(0, 3, 1, 2), torch.from_numpy(arrays.masks)
