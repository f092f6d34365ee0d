"""Finetune (Table 1): the networks of stage 1, trained further on the images of one defect; every weight may change."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import torch

from defect_synth.baselines.image_gan import STAGE_2_ONLY, AdaptedGAN, second_schedule, with_strong_r1
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.dfmgan.config import FAST_64, PAPER_256
from defect_synth.dfmgan.pretrain import BACKBONE, PretrainStage
from defect_synth.dfmgan.train import load_pretrained


class Finetune(AdaptedGAN):
    """Settings of Finetune; losses and augmentation are the same on normal images and on defect images."""

    unused: ClassVar[tuple[str, ...]] = STAGE_2_ONLY

    method: Literal["finetune"] = "finetune"

    @classmethod
    def preset(cls, name: PresetName) -> Finetune:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px, 400 kimg per defect (the authors say 100 to 400)."""
        return cls(config=with_strong_r1(FAST_64) if name == "fast" else PAPER_256)

    def defect_stage(self, training: TrainingSet, defect: str, run: Path, device: torch.device) -> PretrainStage:
        """Stage 1 again, from where it ended, with the images of one defect."""
        return PretrainStage(
            second_schedule(self.config), training.category, training.defects[defect], None, device=device, name=defect,
            start=load_pretrained((self.pretrained or run) / BACKBONE), method=self.method,
        )  # fmt: skip
