"""DiffAug (Table 1; Zhao et al. 2020): a GAN from scratch on the images of one defect, all images augmented."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict

from defect_synth.baselines.diff_augment import DifferentiableReals
from defect_synth.baselines.image_gan import MODEL_FILE, ImageGAN
from defect_synth.baselines.schedules import resized
from defect_synth.baselines.system import Materials, Step
from defect_synth.dfmgan.config import FAST_64, PAPER_256, AugmentConfig, TrainConfig
from defect_synth.dfmgan.pretrain import pretrain_stage
from defect_synth.engine.stage import Stage
from defect_synth.samples import DefectSource, Pixels


def _without_ada(config: TrainConfig, kimg: float) -> TrainConfig:
    pretrain = config.pretrain.model_copy(update={"augment": AugmentConfig(mode="none"), "total_kimg": kimg})
    return config.model_copy(update={"pretrain": pretrain})


class DiffAug(BaseModel):
    """Settings of DiffAug; `config.pretrain` is the training on each defect, with ADA off."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    changes_images: ClassVar[bool] = False

    method: Literal["diffaug"] = "diffaug"
    config: TrainConfig = _without_ada(FAST_64, 30)

    @classmethod
    def preset(cls, name: Literal["fast", "paper"]) -> DiffAug:
        """`fast`: minutes on a CPU at 64 px; `paper`: 256 px, 300 kimg, its authors' length for 100 images."""
        return cls(config=_without_ada(FAST_64, 30) if name == "fast" else _without_ada(PAPER_256, 300))

    @property
    def resolution(self) -> int:
        """Side of its images."""
        return self.config.model.backbone.resolution

    def at(self, resolution: int | None, seed: int) -> DiffAug:
        """The same at another side (None: as it is), with a seed."""
        return self.model_copy(update={"config": resized(self.config, resolution, seed)})

    def steps(self, materials: Materials, run: Path, device: torch.device) -> Sequence[Step]:
        """Each defect, from scratch."""

        def train(defect: str) -> Stage:
            images = materials.defects[defect]
            reals = DifferentiableReals(images, self.config.pretrain, self.config.seed, device)
            return pretrain_stage(
                self.config, materials.category, images, None, device=device, name=defect, reals=reals
            )

        return [Step(f"defects/{d}", partial(train, d)) for d in materials.defects]

    def open(
        self, run: Path, category: str, defects: Sequence[str], good: Pixels, device: torch.device
    ) -> DefectSource:
        """Each defect's network; `good` is not looked at."""
        return ImageGAN(self.method, category, {d: run / "defects" / d / MODEL_FILE for d in defects}, device)
