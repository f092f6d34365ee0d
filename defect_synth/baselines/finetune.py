"""Finetune (Table 1): the network of stage 1 continued on the images of one defect, all its weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from defect_synth.baselines.image_gan import MODEL_FILE, ImageGAN
from defect_synth.baselines.schedules import continued, few_shot, resized
from defect_synth.baselines.system import Materials, Step
from defect_synth.dfmgan.config import FAST_64, PAPER_256, TrainConfig
from defect_synth.dfmgan.pretrain import pretrain_stage
from defect_synth.dfmgan.train import load_pretrained
from defect_synth.engine.stage import Stage
from defect_synth.samples import DefectSource, Pixels


class Finetune(BaseModel):
    """Settings of Finetune.

    `config.pretrain` is stage 1 on good images, `config.transfer` the continuation on each defect: same losses, same
    augmentation, fewer images. Stage 1 starts anew unless `pretrained` names a run that has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    changes_images: ClassVar[bool] = False

    method: Literal["finetune"] = "finetune"
    config: TrainConfig = FAST_64
    pretrained: Path | None = Field(None, description="Run folder of `defect-synth train` whose stage 1 is used.")

    @classmethod
    def preset(cls, name: Literal["fast", "paper"]) -> Finetune:
        """`fast`: minutes on a CPU at 64 px; `paper`: 256 px, 400 kimg per defect (the authors say 100 to 400)."""
        return cls(config=few_shot(FAST_64) if name == "fast" else PAPER_256)

    @property
    def resolution(self) -> int:
        """Side of its images."""
        return self.config.model.backbone.resolution

    def at(self, resolution: int | None, seed: int) -> Finetune:
        """The same at another side (None: as it is), with a seed."""
        return self.model_copy(update={"config": resized(self.config, resolution, seed)})

    def steps(self, materials: Materials, run: Path, device: torch.device) -> Sequence[Step]:
        """Stage 1, unless it is given, then each defect."""
        source = self.pretrained or run

        def first() -> Stage:
            return pretrain_stage(self.config, materials.category, materials.good, None, device=device)

        def then(defect: str) -> Stage:
            config = continued(self.config)
            start = load_pretrained(source / "backbone")
            return pretrain_stage(
                config, materials.category, materials.defects[defect], None, device=device, name=defect, start=start
            )

        steps = [] if self.pretrained else [Step("backbone", first, share=1.5 * len(materials.defects))]
        return [*steps, *(Step(f"defects/{d}", partial(then, d)) for d in materials.defects)]

    def open(
        self, run: Path, category: str, defects: Sequence[str], good: Pixels, device: torch.device
    ) -> DefectSource:
        """Each defect's network; `good` is not looked at."""
        return ImageGAN(self.method, category, {d: run / "defects" / d / MODEL_FILE for d in defects}, device)
