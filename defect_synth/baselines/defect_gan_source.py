"""Samples of Defect-GAN: defaced normal images, with the thresholded map of the layer as mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from defect_synth.baselines.defect_gan_networks import DefectGANGenerator, uniform_category_map
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import (
    DefectSample,
    Pixels,
    Provenance,
    content_digest,
    pixels_to_signal,
    signal_to_pixels,
)
from defect_synth.weights.finite import require_finite_output

UNCHANGED_BELOW = 0.02
"""Pixels at which the map is below this are those of the normal image."""


class DefectGANSource:
    """A `DefectSource` of defaced normal images.

    Its masks are weak, and the provenance says so (`mask: weak`): the map is the network's own, learnt without masks.

    Args:
        category: Object category.
        defects: Defect categories, sorted.
        network: The generator.
        normal: Normal images, uint8 [N, R, R, 3].
        threshold: The mask is where the map is at least this.
        device: Where the network is.
        digest: Identifies the network.

    Raises:
        DataError: There is no normal image.
    """

    method = "defect-gan"

    def __init__(
        self, category: str, defects: tuple[str, ...], network: DefectGANGenerator, normal: Pixels, threshold: float,
        device: torch.device, digest: str,
    ) -> None:  # fmt: skip
        if len(normal) == 0:
            raise DataError("Defect-GAN needs at least one normal image to change, got none")
        self._category, self._defects, self._network = category, defects, network
        self._normal, self._threshold, self._device = normal, threshold, device
        self.digest = content_digest(f"{self.method} {digest} {threshold}", [normal])
        self.resolution = network.resolution

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._defects

    @torch.no_grad()
    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order, each computed by itself; a mask is empty where the map is faint everywhere.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        if defect not in self._defects:
            raise UnknownDefectError(defect, self._category, self._defects)
        label = torch.tensor([1 + self._defects.index(defect)], device=self._device)
        category_map = uniform_category_map(label, 1 + len(self._defects), self.resolution)
        samples = []
        for seed in seeds:
            rng = np.random.default_rng((int(seed), 0xDEFA))
            number = int(rng.integers(len(self._normal)))
            noise = torch.from_numpy(rng.standard_normal((1, self._network.noise_numel), dtype=np.float32))
            clean = self._normal[number]
            signal = pixels_to_signal(torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].to(self._device))
            layer = self._network(signal, category_map, noise.to(self._device))
            soft, drawn = layer.map[0, 0].cpu().numpy(), layer.composed(signal)
            require_finite_output(layer.map, drawn)
            composed = signal_to_pixels(drawn)[0].permute(1, 2, 0).cpu().numpy()
            image = np.where(soft[:, :, None] < UNCHANGED_BELOW, clean, composed)
            origin = Provenance(
                self.method, self._category, defect, int(seed), self.digest, {"mask": "weak", "good_image": number}
            )
            mask = (soft >= self._threshold).astype(np.uint8)
            samples.append(DefectSample(image, mask, defect, origin, clean.copy()))
        return samples
