"""CDC (Table 1; Ojha et al. 2021): stage 1 moved to a few defect images while samples keep their distances."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from defect_synth.baselines.cdc_losses import distance_consistency
from defect_synth.baselines.image_gan import MODEL_FILE, ImageGAN
from defect_synth.baselines.schedules import continued, few_shot, resized
from defect_synth.baselines.system import Materials, Step
from defect_synth.baselines.two_scale_judge import TwoScaleJudge
from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import FAST_64, PAPER_256, AugmentConfig, TrainConfig
from defect_synth.dfmgan.discriminators import Discriminator
from defect_synth.dfmgan.latents import Latents, draw_latents
from defect_synth.dfmgan.losses import discriminator_loss, generator_loss
from defect_synth.dfmgan.objectives import object_rows
from defect_synth.dfmgan.pretrain import Pretrained, pretrain_stage
from defect_synth.dfmgan.train import load_pretrained
from defect_synth.dfmgan.training_images import AugmentedReals
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Outcome, Phase, Stage, adam
from defect_synth.samples import DefectSource, Pixels


@dataclass(frozen=True)
class Turn:
    """What one phase was given: codes, whether they are near the anchors, and at which sides it looks.

    Attributes:
        latents: Codes and noise.
        real: Images [B, 3, R, R].
        side: Of the feature map whose patches are judged; None: whole images.
        level: Resolution whose features keep their distances.
    """

    latents: Latents
    real: Tensor
    side: int | None
    level: int


class CDC(BaseModel):
    """Settings of CDC.

    `config.pretrain` is stage 1 on good images, `config.transfer` the adaptation to each defect, without ADA.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    changes_images: ClassVar[bool] = False

    method: Literal["cdc"] = "cdc"
    config: TrainConfig = FAST_64
    pretrained: Path | None = Field(None, description="Run folder of `defect-synth train` whose stage 1 is used.")
    consistency: float = Field(1000.0, ge=0, description="Weight of the distance consistency.")
    anchor_interval: int = Field(4, ge=1, description="Every so many iterations codes near anchors, judged whole.")
    anchor_std: float = Field(0.05, ge=0, description="How far from its anchor a code may be.")

    @classmethod
    def preset(cls, name: Literal["fast", "paper"]) -> CDC:
        """`fast`: minutes on a CPU at 64 px; `paper`: 256 px, 5,000 iterations of 4, lr 0.002, R1 10."""
        config = few_shot(FAST_64) if name == "fast" else PAPER_256
        changes: dict[str, object] = {"augment": AugmentConfig(mode="none")}
        if name == "paper":
            changes |= {"total_kimg": 20.0, "batch": 4, "micro_batch": 4, "learning_rate": 0.002, "r1_gamma": 10.0}
        return cls(config=config.model_copy(update={"transfer": config.transfer.model_copy(update=changes)}))

    @property
    def resolution(self) -> int:
        """Side of its images."""
        return self.config.model.backbone.resolution

    def at(self, resolution: int | None, seed: int) -> CDC:
        """The same at another side (None: as it is), with a seed."""
        return self.model_copy(update={"config": resized(self.config, resolution, seed)})

    def steps(self, materials: Materials, run: Path, device: torch.device) -> Sequence[Step]:
        """Stage 1, unless it is given, then each defect."""
        source = self.pretrained or run

        def first() -> Stage:
            return pretrain_stage(self.config, materials.category, materials.good, None, device=device)

        def then(defect: str) -> Stage:
            start = load_pretrained(source / "backbone")
            return self._adapt(materials.category, defect, materials.defects[defect], start, device)

        steps = [] if self.pretrained else [Step("backbone", first, share=1.5 * len(materials.defects))]
        return [*steps, *(Step(f"defects/{d}", partial(then, d)) for d in materials.defects)]

    def open(
        self, run: Path, category: str, defects: Sequence[str], good: Pixels, device: torch.device
    ) -> DefectSource:
        """Each defect's network; `good` is not looked at."""
        return ImageGAN(self.method, category, {d: run / "defects" / d / MODEL_FILE for d in defects}, device)

    def _adapt(self, category: str, defect: str, images: ImageArrays, start: Pretrained, device: torch.device) -> Stage:
        """The stage of one defect: stage 1 with other main phases and heads on its D."""
        config = continued(self.config)
        stage = pretrain_stage(config, category, images, None, device=device, name=defect, start=start)
        target, network = stage.modules["backbone"], stage.modules["discriminator"]
        assert isinstance(target, Backbone)
        assert isinstance(network, Discriminator)
        source = copy.deepcopy(target).requires_grad_(False)  # G_s: as stage 1 left it, before anything moves
        judge = TwoScaleJudge(network).to(device)
        reals = AugmentedReals(images, config.pretrain, config.seed, device)
        z_dim = config.model.backbone.z_dim
        anchors = Draws(config.seed, 0, 98, torch.device("cpu")).normal(1, len(images), z_dim)
        levels = config.model.backbone.block_resolutions

        def turn(draws: Draws, iteration: int) -> Turn:
            latents = draw_latents(
                draws, config.pretrain.batch, config.model, mixing_prob=0.0, noise=target.noise_numel, defect_noise=0,
                second=False,
            )  # fmt: skip
            chosen = draws.uniform(30, 2 + len(latents))
            side: int | None = judge.sides[int(chosen[0] * len(judge.sides))]
            if iteration % self.anchor_interval == 0:
                near = anchors[(chosen[2:] * len(anchors)).long()].to(device)
                latents, side = replace(latents, z_object=near + self.anchor_std * latents.z_object), None
            return Turn(latents, reals.batch(iteration)[0], side, levels[int(chosen[1] * len(levels))])

        def logits(images: Tensor, side: int | None) -> Tensor:
            found: Tensor = judge(images) if side is None else judge.patches(images, side)
            return found

        def generator_main(given: Turn, first: int, last: int) -> Outcome:
            codes = given.latents.part(first, last)
            rows = object_rows(target, codes, track=True)
            adversarial = generator_loss(logits(target(rows, codes.noise_object), given.side))
            with torch.no_grad():
                before = source.trunk(source.rows(codes.z_object), codes.noise_object, below=2 * given.level).features
            now = target.trunk(rows, codes.noise_object, below=2 * given.level).features
            kept = distance_consistency(before, now)
            terms = {"generator": adversarial.detach(), "distance_consistency": kept.detach()}
            return Outcome(adversarial + self.consistency * kept, terms)

        def judge_main(given: Turn, first: int, last: int) -> Outcome:
            codes = given.latents.part(first, last)
            with torch.no_grad():
                fake = target(object_rows(target, codes, track=False), codes.noise_object)
            real_logits = logits(given.real[first:last], given.side)
            loss = discriminator_loss(logits(fake, given.side), real_logits)
            return Outcome(loss, {"discriminator": loss.detach(), "real_sign": real_logits.detach().sign().mean()})

        phases = [Phase("Gmain", target, 1, turn, generator_main)]
        for phase in stage.phases:
            if phase.name == "Greg":
                phases.append(phase)
            elif phase.name == "Dmain":
                phases.append(Phase("Dmain", judge, 1, turn, judge_main))
            elif phase.name == "Dreg":
                phases.append(replace(phase, module=judge))
        optimizers = dict(stage.optimizers)
        del optimizers["discriminator"]
        optimizers["judge"] = adam(
            judge.parameters(), config.pretrain, config.pretrain.r1_interval, config.pretrain.r1_gamma > 0
        )
        modules = {name: module for name, module in stage.modules.items() if name != "discriminator"}
        return replace(
            stage, phases=phases, optimizers=optimizers, modules={**modules, "judge": judge}, ada=reals.ada,
            optimizer_of={},
        )  # fmt: skip
