"""DiffAug (Table 1; Zhao et al. 2020): a GAN trained from scratch on one defect, with differentiable augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch

from defect_synth.baselines.differentiable_augmentation import DifferentiablyAugmentedImages
from defect_synth.baselines.image_gan import STAGE_2_ONLY, ImageGAN
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.dfmgan.config import FAST_64, PAPER_256, AugmentConfig, TrainConfig
from defect_synth.dfmgan.pretrain import PretrainStage


def _without_ada(config: TrainConfig, kimg: float) -> TrainConfig:
    pretrain = config.pretrain.model_copy(update={"augment": AugmentConfig(mode="none"), "total_kimg": kimg})
    return config.model_copy(update={"pretrain": pretrain})


class DiffAug(ImageGAN):
    """Settings of DiffAug; `config.pretrain` is the schedule on the images of each defect."""

    unused: ClassVar[tuple[str, ...]] = (*STAGE_2_ONLY, "config.transfer", "config.pretrain.augment")

    method: Literal["diffaug"] = "diffaug"
    config: TrainConfig = _without_ada(FAST_64, 30)

    @classmethod
    def preset(cls, name: PresetName) -> DiffAug:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px and 300 kimg, its authors' length for 100 images."""
        return cls(config=_without_ada(FAST_64, 30) if name == "fast" else _without_ada(PAPER_256, 300))

    def defect_stage(self, training: TrainingSet, defect: str, run: Path, device: torch.device) -> PretrainStage:
        """Stage 1 with the images of one defect, and with this augmentation in the place of ADA."""
        images, schedule = training.defects[defect], self.config.pretrain
        augmented = DifferentiablyAugmentedImages(
            images, schedule.batch, self.config.seed, device, mirror=schedule.mirror
        )
        return PretrainStage(
            self.config, training.category, images, None, device=device, name=defect, augmented=augmented,
            method=self.method,
        )  # fmt: skip
