"""Samples of the image-only GANs (Finetune, DiffAug, CDC): one backbone per defect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.checkpoint import DFMGANCard, build_generator
from defect_synth.engine.checkpoint import Checkpoint, load_checkpoint
from defect_synth.engine.loop import MODEL_FILE
from defect_synth.errors import CheckpointError, UnknownDefectError
from defect_synth.samples import DefectSample, Provenance, signal_to_pixels
from defect_synth.weights.finite import require_finite_output


class ImageGANSource:
    """A `DefectSource` of square images without masks.

    The masks of its samples are zero everywhere, and their provenance says `mask: none`.

    Args:
        method: Method name for the provenance.
        category: Object category.
        files: Defect category -> `backbone` checkpoint.
        device: Where to sample.

    Raises:
        CheckpointError: A file is missing or no backbone.
    """

    def __init__(self, method: str, category: str, files: Mapping[str, Path], device: torch.device) -> None:
        self.method, self._category, self._device = method, category, device
        for defect, file in files.items():
            if not file.is_file():
                raise CheckpointError(f"{method} has no {file} for {defect} yet; continue its run with --resume")
        self._checkpoints: dict[str, Checkpoint[DFMGANCard]] = {
            defect: load_checkpoint(file, DFMGANCard, "backbone") for defect, file in sorted(files.items())
        }
        self._networks: dict[str, Backbone] = {}
        self.resolution = next(iter(self._checkpoints.values())).card.model.backbone.resolution
        parts = [f"{defect} {checkpoint.digest}" for defect, checkpoint in self._checkpoints.items()]
        self.digest = hashlib.sha256("\n".join([method, *parts]).encode()).hexdigest()

    @classmethod
    def of_run(
        cls, method: str, run: Path, category: str, defects: Sequence[str], device: torch.device
    ) -> ImageGANSource:
        """The source of a run folder that has a network in `defects/<defect>/` for each of `defects`.

        Raises:
            CheckpointError: A file is missing or no backbone.
        """
        return cls(method, category, {defect: run / "defects" / defect / MODEL_FILE for defect in defects}, device)

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(self._checkpoints)

    @torch.no_grad()
    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order.

        Each is computed by itself, because the rounding of a sample would otherwise depend on its batch.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        if defect not in self._checkpoints:
            raise UnknownDefectError(defect, self._category, self.defects)
        network, checkpoint = self._network(defect), self._checkpoints[defect]
        samples = []
        for seed in seeds:
            rng = np.random.default_rng((int(seed), 0))
            z = torch.from_numpy(rng.standard_normal((1, network.config.z_dim), dtype=np.float32))
            image = network(network.rows(z.to(self._device)))
            require_finite_output(image)
            pixels = signal_to_pixels(image.float())[0].permute(1, 2, 0).cpu().contiguous().numpy()
            samples.append(
                DefectSample(
                    pixels, np.zeros(pixels.shape[:2], np.uint8), defect,
                    Provenance(self.method, self._category, defect, int(seed), checkpoint.digest, {"mask": "none"}),
                )
            )  # fmt: skip
        return samples

    def _network(self, defect: str) -> Backbone:
        if defect not in self._networks:
            network = build_generator(self._checkpoints[defect])
            assert isinstance(network, Backbone)
            self._networks[defect] = network.to(self._device)
        return self._networks[defect]
