"""Finetune (Table 1): the networks of stage 1, trained on with the images of one defect; every weight may move."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from defect_synth.baselines.image_gan import ImageGANSource
from defect_synth.baselines.schedules import UNUSED, continued, few_shot, resized
from defect_synth.baselines.system import PresetName, TrainingSet
from defect_synth.config import Frozen
from defect_synth.dfmgan.config import FAST_64, PAPER_256, TrainConfig
from defect_synth.dfmgan.pretrain import BACKBONE, PretrainStage
from defect_synth.dfmgan.train import load_pretrained
from defect_synth.engine.runner import Step
from defect_synth.samples import DefectSource, Pixels


class Finetune(Frozen):
    """Settings of Finetune.

    `config.pretrain` is stage 1 on normal images, `config.transfer` the schedule on the images of each defect, with the
    same losses and augmentation. Stage 1 is trained first unless `pretrained` names a run that has one.
    """

    changes_images: ClassVar[bool] = False
    unused: ClassVar[tuple[str, ...]] = UNUSED

    method: Literal["finetune"] = "finetune"
    config: TrainConfig = FAST_64
    pretrained: Path | None = Field(None, description="Run folder whose stage 1 is used, of DFMGAN, Finetune or CDC.")

    @classmethod
    def preset(cls, name: PresetName) -> Finetune:
        """`fast`: 64 px and minutes on a CPU; `paper`: 256 px, 400 kimg per defect (the authors say 100 to 400)."""
        return cls(config=few_shot(FAST_64) if name == "fast" else PAPER_256)

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return self.config.model.backbone.resolution

    def at(self, resolution: int | None, seed: int) -> Finetune:
        """A copy for another resolution (None: the same) and another seed."""
        return self.model_copy(update={"config": resized(self.config, resolution, seed)})

    def steps(self, training: TrainingSet, run: Path, device: torch.device) -> Sequence[Step]:
        """Stage 1, unless it is given, then one stage per defect."""
        defects = [
            Step(defect, f"defects/{defect}", partial(self._defect_stage, training, defect, run, device))
            for defect in training.defects
        ]
        if self.pretrained is not None:
            return defects
        first = partial(PretrainStage, self.config, training.category, training.normal, None, device=device,
                        method=self.method)  # fmt: skip
        return [Step(BACKBONE, BACKBONE, first, share=1.5 * len(defects), basis=True), *defects]

    def _defect_stage(self, training: TrainingSet, defect: str, run: Path, device: torch.device) -> PretrainStage:
        return PretrainStage(
            continued(self.config), training.category, training.defects[defect], None, device=device, name=defect,
            start=load_pretrained((self.pretrained or run) / BACKBONE), method=self.method,
        )  # fmt: skip

    def open(
        self, run: Path, category: str, defects: Sequence[str], normal: Pixels, device: torch.device
    ) -> DefectSource:
        """The network of each defect; `normal` is ignored."""
        return ImageGANSource.of_run(self.method, run, category, defects, device)
