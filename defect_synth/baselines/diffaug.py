"""DiffAug (Table 1; Zhao et al. 2020): a GAN trained from scratch on one defect, with differentiable augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch

from defect_synth.baselines.differentiable_augmentation import DifferentiablyAugmentedImages
from defect_synth.baselines.image_gan import ImageGANSource
from defect_synth.baselines.schedules import UNUSED, resized
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.config import Frozen
from defect_synth.dfmgan.config import FAST_64, PAPER_256, AugmentConfig, TrainConfig
from defect_synth.dfmgan.pretrain import PretrainStage
from defect_synth.engine.runner import Step
from defect_synth.samples import DefectSource, Pixels


def _without_ada(config: TrainConfig, kimg: float) -> TrainConfig:
    pretrain = config.pretrain.model_copy(update={"augment": AugmentConfig(mode="none"), "total_kimg": kimg})
    return config.model_copy(update={"pretrain": pretrain})


class DiffAug(Frozen):
    """Settings of DiffAug; `config.pretrain` is the schedule on the images of each defect, without ADA."""

    changes_images: ClassVar[bool] = False
    unused: ClassVar[tuple[str, ...]] = (*UNUSED, "config.transfer", "config.pretrain.augment")

    method: Literal["diffaug"] = "diffaug"
    config: TrainConfig = _without_ada(FAST_64, 30)

    @classmethod
    def preset(cls, name: PresetName) -> DiffAug:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px and 300 kimg, its authors' length for 100 images."""
        return cls(config=_without_ada(FAST_64, 30) if name == "fast" else _without_ada(PAPER_256, 300))

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.config.model.backbone.resolution

    def at(self, resolution: int | None, seed: int) -> DiffAug:
        """A copy for another resolution (None: the same) and another seed."""
        return self.model_copy(update={"config": resized(self.config, resolution, seed)})

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """One stage per defect."""
        return [
            Step(defect, f"defects/{defect}", partial(self._stage, training, defect, device))
            for defect in training.defects
        ]

    def _stage(self, training: TrainingSet, defect: str, device: torch.device) -> PretrainStage:
        images, schedule = training.defects[defect], self.config.pretrain
        augmented = DifferentiablyAugmentedImages(
            images, schedule.batch, self.config.seed, device, mirror=schedule.mirror
        )
        return PretrainStage(
            self.config, training.category, images, None, device=device, name=defect, augmented=augmented,
            method=self.method,
        )  # fmt: skip

    def open(
        self, run: Path, category: str, defects: Sequence[str], normal: Pixels, device: torch.device
    ) -> DefectSource:
        """The network of each defect; `normal` is ignored."""
        return ImageGANSource.of_run(self.method, run, category, defects, device)
