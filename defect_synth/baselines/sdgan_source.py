"""Samples of SDGAN: each normal image translated into a defect image."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from defect_synth.baselines.sdgan_networks import SDGANGenerator
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


class SDGANSource:
    """A `FiniteSource` without masks: they are zero everywhere, and the provenance says `mask: none`.

    Seeds 0 .. N - 1 are the N normal images, in a random order that is fixed for each defect.

    Args:
        category: Object category.
        networks: Defect category -> its generator, sorted.
        normal: Normal images, uint8 [N, R, R, 3].
        device: Where the networks are.
        digest: Identifies the networks.

    Raises:
        DataError: There is no normal image.
    """

    method = "sdgan"

    def __init__(
        self, category: str, networks: Mapping[str, SDGANGenerator], normal: Pixels, device: torch.device, digest: str
    ) -> None:
        if len(normal) == 0:
            raise DataError("SDGAN needs at least one normal image to change, got none")
        self._category, self._networks, self._normal, self._device = category, networks, normal, device
        self.digest = content_digest(f"{self.method} {digest}", [normal])
        self.resolution = int(normal.shape[1])

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(self._networks)

    def seeds(self, defect: str) -> tuple[int, ...]:
        """The seeds that exist: one for each normal image.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        self._network(defect)
        return tuple(range(len(self._normal)))

    @torch.no_grad()
    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order, each computed by itself.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: A seed that does not exist.
        """
        network = self._network(defect)
        order = np.random.default_rng(zlib.crc32(defect.encode())).permutation(len(self._normal))
        samples = []
        for seed in seeds:
            if not 0 <= seed < len(order):
                raise DataError(
                    f"SDGAN has one image of {defect} for each of {len(order)} normal images and no seed {seed}; "
                    f"ask for seeds 0 to {len(order) - 1}"
                )
            clean = self._normal[order[seed]]
            signal = pixels_to_signal(torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].to(self._device))
            drawn = network(signal)
            require_finite_output(drawn)
            image = signal_to_pixels(drawn)[0].permute(1, 2, 0).cpu().contiguous().numpy()
            origin = Provenance(
                self.method, self._category, defect, int(seed), self.digest,
                {"mask": "none", "good_image": int(order[seed])},
            )  # fmt: skip
            samples.append(DefectSample(image, np.zeros(image.shape[:2], np.uint8), defect, origin, clean.copy()))
        return samples

    def _network(self, defect: str) -> SDGANGenerator:
        if defect not in self._networks:
            raise UnknownDefectError(defect, self._category, self.defects)
        return self._networks[defect]
