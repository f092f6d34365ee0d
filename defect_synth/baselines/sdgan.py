"""SDGAN (Table 1; Niu et al. 2020): two generators between normal and defect images, one pair per defect.

The paper gives no code and few numbers, so this is SDGAN-like: cycle and identity terms, least-squares patch
discriminators, and its extra discriminator terms as scores of the cycles' ends, so that an image that went there and
back must pass as real too. It is deterministic: one defect image for each good one, and no mask.
"""

from __future__ import annotations

import copy
import hashlib
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from defect_synth.baselines.system import Materials, Step
from defect_synth.baselines.translated import MODEL_FILE, described, export, reopen
from defect_synth.baselines.translation import PatchJudge, Translator
from defect_synth.baselines.translation_losses import absolute, judged_fake, judged_real
from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.config import AdversarialStageConfig as StageConfig
from defect_synth.dfmgan.config import AugmentConfig
from defect_synth.dfmgan.training_images import AugmentedReals
from defect_synth.engine.contact_sheet import grid, save_sheet
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Outcome, Phase, Stage
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance, pixels_to_signal, signal_to_pixels

_NO_ADA = AugmentConfig(mode="none")
_SHOWN = 16


class SDGAN(BaseModel):
    """Settings of SDGAN: CycleGAN's where Niu et al. are silent (Zhu et al. 2017)."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    changes_images: ClassVar[bool] = True

    method: Literal["sdgan"] = "sdgan"
    resolution: int = Field(64, ge=32, le=1024, multiple_of=16)
    seed: int = Field(0, ge=0, lt=2**31)
    channels: int = Field(24, ge=4, description="Of the first layers; CycleGAN: 64.")
    blocks: int = Field(4, ge=1, description="Residual blocks of a generator; CycleGAN at 256 px: 9.")
    cycle: float = Field(10.0, ge=0, description="Weight of the cycle terms.")
    identity: float = Field(5.0, ge=0, description="Weight of the identity terms.")
    returned: float = Field(0.5, ge=0, description="Weight of the extra discriminator terms on the cycles' ends.")
    stage: StageConfig = StageConfig(
        total_kimg=10, batch=4, micro_batch=4, learning_rate=2e-4, ema_kimg=0.5, augment=_NO_ADA, snapshot_kimg=1,
        mirror=True,
    )  # fmt: skip

    @classmethod
    def preset(cls, name: Literal["fast", "paper"]) -> SDGAN:
        """`fast`: minutes on a CPU at 64 px; `paper`: 256 px, CycleGAN's networks, about 200 passes over 200 images."""
        if name == "fast":
            return cls()
        stage = cls().stage.model_copy(update={"total_kimg": 40.0, "batch": 2, "micro_batch": 2})
        return cls(resolution=256, channels=64, blocks=9, stage=stage)

    def at(self, resolution: int | None, seed: int) -> SDGAN:
        """The same at another side (None: as it is), with a seed."""
        return self.model_copy(update={"resolution": resolution or self.resolution, "seed": seed})

    def steps(self, materials: Materials, run: Path, device: torch.device) -> Sequence[Step]:
        """Each defect's pair of generators."""

        def train(defect: str) -> Stage:
            return self._stage(materials.category, defect, materials.defects[defect], materials.good, device)

        return [Step(f"defects/{defect}", partial(train, defect)) for defect in materials.defects]

    def open(
        self, run: Path, category: str, defects: Sequence[str], good: Pixels, device: torch.device
    ) -> DefectSource:
        """The generators that make defects, on the good images."""
        networks, digests = {}, []
        for defect in sorted(defects):
            networks[defect] = Translator(self.channels, self.blocks)
            digests.append(reopen(run / "defects" / defect / MODEL_FILE, networks[defect]))
            networks[defect].to(device)
        return Translations(category, networks, good, device, "\n".join(digests))

    def _stage(self, category: str, defect: str, images: ImageArrays, good: ImageArrays, device: torch.device) -> Stage:
        torch.manual_seed(self.seed)  # initial weights only; nothing after this draws from the global state
        generators = nn.ModuleDict({name: Translator(self.channels, self.blocks) for name in ("defect", "normal")}).to(
            device
        )
        judges = nn.ModuleDict({name: PatchJudge(self.channels) for name in ("defect", "normal")}).to(device)
        to_defect, to_normal = generators["defect"], generators["normal"]
        average = copy.deepcopy(to_defect).requires_grad_(False).eval()
        defective = AugmentedReals(images, self.stage, self.seed, device)
        normal = AugmentedReals(good, self.stage, self.seed + 1, device)

        def pairs(draws: Draws, iteration: int) -> tuple[Tensor, Tensor]:
            return normal.batch(iteration)[0], defective.batch(iteration)[0]

        def generators_main(given: tuple[Tensor, Tensor], first: int, last: int) -> Outcome:
            n, d = (images[first:last] for images in given)
            fake_d, fake_n = to_defect(n), to_normal(d)
            back_n, back_d = to_normal(fake_d), to_defect(fake_n)
            adversarial = judged_real(judges["defect"](fake_d)) + judged_real(judges["normal"](fake_n))
            returned = judged_real(judges["defect"](back_d)) + judged_real(judges["normal"](back_n))
            cycle = absolute(back_n, n) + absolute(back_d, d)
            identity = absolute(to_defect(d), d) + absolute(to_normal(n), n)
            loss = adversarial + self.returned * returned + self.cycle * cycle + self.identity * identity
            return Outcome(loss, {"generator": adversarial.detach(), "cycle": cycle.detach()})

        def judges_main(given: tuple[Tensor, Tensor], first: int, last: int) -> Outcome:
            n, d = (images[first:last] for images in given)
            with torch.no_grad():
                fake_d, fake_n = to_defect(n), to_normal(d)
                back_n, back_d = to_normal(fake_d), to_defect(fake_n)
            loss = torch.zeros([], device=device)
            for judge, real, fake, back in (
                (judges["defect"], d, fake_d, back_d), (judges["normal"], n, fake_n, back_n)
            ):  # fmt: skip
                loss = loss + judged_real(judge(real)) + judged_fake(judge(fake))
                loss = loss + self.returned * judged_fake(judge(back))
            return Outcome(loss / 2, {"discriminator": loss.detach() / 2})

        info = described(
            self.method, category, defect, images.digest + good.digest, len(images),
            self.model_dump(mode="json", exclude={"stage": {"total_kimg"}}),
        )  # fmt: skip
        shown = pixels_to_signal(torch.from_numpy(good.images[:_SHOWN]).permute(0, 3, 1, 2)).to(device)

        @torch.no_grad()
        def sample_sheet(path: Path) -> None:
            both = torch.cat([shown, average(shown)])
            save_sheet(path, grid(signal_to_pixels(both).cpu(), columns=len(shown)))

        return Stage(
            name=defect, config=self.stage,
            phases=[Phase("G", generators, 1, pairs, generators_main), Phase("D", judges, 1, pairs, judges_main)],
            optimizers={"generators": _adam(generators, self.stage), "judges": _adam(judges, self.stage)},
            modules={"generators": generators, "judges": judges, "average": average},
            averaged=list(zip(average.parameters(), to_defect.parameters(), strict=True)), copied=[],
            ada=defective.ada, scalars={}, evaluate=lambda: ({}, None), sample_sheet=sample_sheet,
            export=lambda path, kimg, score: export(path, info, kimg, average), info=info, device=device,
            seed=self.seed,
        )  # fmt: skip


def _adam(module: nn.Module, config: StageConfig) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(0.5, 0.999), fused=True)


class Translations:
    """A finite `DefectSource`: each good image translated, without a mask (all zero, `mask: none`).

    Seeds 0 .. N_g - 1 are the good images, in an order drawn once for each defect.
    """

    method = "sdgan"

    def __init__(
        self, category: str, networks: dict[str, Translator], good: Pixels, device: torch.device, digest: str
    ) -> None:
        if len(good) == 0:
            raise DataError("SDGAN needs at least one good image to change, got none")
        self._category, self._networks, self._good, self._device = category, networks, good, device
        pixels = hashlib.sha256(np.ascontiguousarray(good).tobytes()).hexdigest()
        self.digest = hashlib.sha256(f"{digest}\n{pixels}".encode()).hexdigest()
        self.resolution = int(good.shape[1])

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return tuple(self._networks)

    def seeds(self, defect: str) -> tuple[int, ...]:
        """All the seeds there are: one for each good image.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        self._network(defect)
        return tuple(range(len(self._good)))

    @torch.no_grad()
    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order, each computed by itself.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
            DataError: A seed for which there is no good image left.
        """
        network = self._network(defect)
        order = np.random.default_rng(zlib.crc32(defect.encode())).permutation(len(self._good))
        samples = []
        for seed in seeds:
            if not 0 <= seed < len(order):
                raise DataError(
                    f"SDGAN has one image of {defect} for each of {len(order)} good ones and no seed {seed}"
                )
            clean = self._good[order[seed]]
            signal = pixels_to_signal(torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].to(self._device))
            image = signal_to_pixels(network(signal))[0].permute(1, 2, 0).cpu().contiguous().numpy()
            origin = Provenance(
                self.method, self._category, defect, int(seed), self.digest,
                {"mask": "none", "good_image": int(order[seed])},
            )  # fmt: skip
            samples.append(DefectSample(image, np.zeros(image.shape[:2], np.uint8), defect, origin, clean.copy()))
        return samples

    def _network(self, defect: str) -> Translator:
        if defect not in self._networks:
            raise UnknownDefectError(defect, self._category, self.defects)
        return self._networks[defect]
