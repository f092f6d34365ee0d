"""Defect-GAN (Table 1; Zhang et al. 2021): deface and restore in a cycle, layer over image, for all defects at once."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from defect_synth.baselines.defacement import Defacer, NamingJudge, category_map
from defect_synth.baselines.system import Materials, Step
from defect_synth.baselines.translated import MODEL_FILE, described, export, reopen
from defect_synth.baselines.translation_losses import absolute, between, named, unit_gradient, wasserstein
from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.config import AdversarialStageConfig as StageConfig
from defect_synth.dfmgan.config import AugmentConfig
from defect_synth.dfmgan.training_images import AugmentedReals
from defect_synth.engine.contact_sheet import grid, save_sheet
from defect_synth.engine.draws import Draws
from defect_synth.engine.stage import Outcome, Phase, Stage
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource, Pixels, Provenance, pixels_to_signal, signal_to_pixels

FOLDER = "defect_gan"
NORMAL = 0  # its category number
UNTOUCHED = 0.02  # where the soft map is below, samples keep the good image's pixels
_SHOWN = 16


@dataclass(frozen=True)
class Batch:
    """One batch of a phase: images [B, 3, R, R], labels [B], noise of four passes [4, B, numel], uniforms [B]."""

    normal: Tensor
    defective: Tensor
    labels: Tensor
    target: Tensor
    noise: Tensor
    uniform: Tensor

    def part(self, first: int, last: int) -> Batch:
        """Samples first..last."""
        return Batch(
            self.normal[first:last], self.defective[first:last], self.labels[first:last], self.target[first:last],
            self.noise[:, first:last], self.uniform[first:last],
        )  # fmt: skip


class DefectGAN(BaseModel):
    """Settings of Defect-GAN.

    The spatial category map is the same category everywhere: the paper learns from image labels alone, and where a
    defect goes is the network's own choice. Weights that the paper does not print are StarGAN's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    changes_images: ClassVar[bool] = True

    method: Literal["defect-gan"] = "defect-gan"
    resolution: int = Field(64, ge=32, le=1024, multiple_of=16)
    seed: int = Field(0, ge=0, lt=2**31)
    channels: int = Field(24, ge=4, description="Of the first layers; at 256 px: 64.")
    blocks: int = Field(6, ge=1, description="Residual blocks of the encoder (6 in the paper).")
    critic_steps: int = Field(3, ge=1, description="Steps of the critic for each of the generator; WGAN-GP: 5.")
    penalty: float = Field(10.0, ge=0, description="Weight of the gradient penalty.")
    naming: float = Field(1.0, ge=0, description="Weight of the category terms.")
    reconstruction: float = Field(10.0, ge=0, description="Weight of the cycle terms.")
    map_cycle: float = Field(5.0, ge=0, description="Weight of the agreement of the maps there and back.")
    sparsity: float = Field(1.0, ge=0, description="Weight of the maps' mean: a defect is small.")
    mask_threshold: float = Field(0.25, gt=0, lt=1, description="Of the soft map, for the weak mask.")
    stage: StageConfig = StageConfig(
        total_kimg=20, batch=4, micro_batch=4, learning_rate=2e-4, ema_kimg=0.5, augment=AugmentConfig(mode="none"),
        snapshot_kimg=1, mirror=True,
    )  # fmt: skip

    @classmethod
    def preset(cls, name: Literal["fast", "paper"]) -> DefectGAN:
        """`fast`: minutes on a CPU at 64 px; `paper`: 256 px, 64 channels, five critic steps, 500 kimg."""
        if name == "fast":
            return cls()
        stage = cls().stage.model_copy(update={"total_kimg": 500.0, "snapshot_kimg": 10.0})
        return cls(resolution=256, channels=64, critic_steps=5, stage=stage)

    def at(self, resolution: int | None, seed: int) -> DefectGAN:
        """The same at another side (None: as it is), with a seed."""
        return self.model_copy(update={"resolution": resolution or self.resolution, "seed": seed})

    def steps(self, materials: Materials, run: Path, device: torch.device) -> Sequence[Step]:
        """One training for all defects."""
        return [Step(FOLDER, partial(self._stage, materials, device))]

    def open(
        self, run: Path, category: str, defects: Sequence[str], good: Pixels, device: torch.device
    ) -> DefectSource:
        """The generator, on the good images."""
        network = Defacer(self.resolution, 1 + len(defects), self.channels, self.blocks)
        digest = reopen(run / FOLDER / MODEL_FILE, network)
        return Defacements(
            category, tuple(sorted(defects)), network.to(device), good, self.mask_threshold, device, digest
        )

    def _stage(self, materials: Materials, device: torch.device) -> Stage:
        defects = sorted(materials.defects)
        categories, side, size = 1 + len(defects), self.resolution, self.stage.batch
        torch.manual_seed(self.seed)  # initial weights only; nothing after this draws from the global state
        network = Defacer(side, categories, self.channels, self.blocks).to(device)
        judge = NamingJudge(categories, self.channels).to(device)
        average = copy.deepcopy(network).requires_grad_(False).eval()
        images = _joined([materials.defects[name] for name in defects])
        all_labels = torch.cat([torch.full((len(materials.defects[name]),), 1 + i) for i, name in enumerate(defects)])
        normal = AugmentedReals(materials.good, self.stage, self.seed + 1, device)
        defective = AugmentedReals(images, self.stage, self.seed, device)

        def batch(draws: Draws, iteration: int) -> Batch:
            return Batch(
                normal.batch(iteration)[0], defective.batch(iteration)[0],
                all_labels[defective.indices(iteration)].to(device),
                (1 + (draws.uniform(1, size) * (categories - 1)).long()).to(device),
                draws.normal(2, 4, size, network.noise_numel), draws.uniform(3, size),
            )  # fmt: skip

        def layer(image: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
            made = network(image, category_map(labels, categories, side), noise)
            return made.over(image), made.map

        def generator(given: Batch, first: int, last: int) -> Outcome:
            b = given.part(first, last)
            clean = torch.full_like(b.labels, NORMAL)
            fake_d, map_d = layer(b.normal, b.target, b.noise[0])
            back_n, unmap_n = layer(fake_d, clean, b.noise[1])
            fake_n, unmap_d = layer(b.defective, clean, b.noise[2])
            back_d, map_n = layer(fake_n, b.labels, b.noise[3])
            (score_d, name_d), (score_n, name_n) = judge(fake_d), judge(fake_n)
            adversarial = -score_d.mean() - score_n.mean()
            naming = named(name_d, b.target) + named(name_n, clean)
            cycle = absolute(back_n, b.normal) + absolute(back_d, b.defective)
            maps = absolute(map_d, unmap_n) + absolute(unmap_d, map_n)
            sparsity = map_d.mean() + unmap_n.mean() + unmap_d.mean() + map_n.mean()
            loss = adversarial + self.naming * naming + self.reconstruction * cycle
            loss = loss + self.map_cycle * maps + self.sparsity * sparsity
            return Outcome(loss, {"generator": adversarial.detach(), "cycle": cycle.detach(),
                                  "map_area": map_d.detach().mean()})  # fmt: skip

        def critic(given: Batch, first: int, last: int) -> Outcome:
            b = given.part(first, last)
            clean = torch.full_like(b.labels, NORMAL)
            with torch.no_grad():
                fake_d, _ = layer(b.normal, b.target, b.noise[0])
                fake_n, _ = layer(b.defective, clean, b.noise[2])
            loss = torch.zeros([], device=device)
            for real, fake, labels in ((b.defective, fake_d, b.labels), (b.normal, fake_n, clean)):
                scores, names = judge(real)
                loss = loss + wasserstein(judge(fake)[0], scores) + self.naming * named(names, labels)
                middle = between(real, fake, b.uniform).requires_grad_(True)
                loss = loss + self.penalty * unit_gradient(judge(middle)[0], middle)
            return Outcome(loss, {"critic": loss.detach()})

        info = described(
            self.method, materials.category, None, images.digest + materials.good.digest, len(images),
            {**self.model_dump(mode="json", exclude={"stage": {"total_kimg"}}), "defects": defects},
        )  # fmt: skip
        shown = pixels_to_signal(torch.from_numpy(materials.good.images[:_SHOWN]).permute(0, 3, 1, 2)).to(device)

        @torch.no_grad()
        def sample_sheet(path: Path) -> None:
            rows = [shown]
            noise = torch.zeros(len(shown), network.noise_numel, device=device)
            for label in range(1, categories):
                labels = torch.full((len(shown),), label, device=device)
                made = average(shown, category_map(labels, categories, side), noise)
                rows += [made.over(shown), made.map.expand(-1, 3, -1, -1) * 2 - 1]
            save_sheet(path, grid(signal_to_pixels(torch.cat(rows)).cpu(), columns=len(shown)))

        return Stage(
            name=FOLDER, config=self.stage,
            phases=[Phase("D", judge, 1, batch, critic), Phase("G", network, self.critic_steps, batch, generator)],
            optimizers={"network": _adam(network, self.stage), "judge": _adam(judge, self.stage)},
            modules={"network": network, "judge": judge, "average": average},
            averaged=list(zip(average.parameters(), network.parameters(), strict=True)), copied=[],
            ada=defective.ada, scalars={}, evaluate=lambda: ({}, None), sample_sheet=sample_sheet,
            export=lambda path, kimg, score: export(path, info, kimg, average), info=info, device=device,
            seed=self.seed,
        )  # fmt: skip


def _adam(module: nn.Module, config: StageConfig) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(0.5, 0.9), fused=True)


def _joined(parts: Sequence[ImageArrays]) -> ImageArrays:
    return ImageArrays(
        np.concatenate([part.images for part in parts]), np.concatenate([part.masks for part in parts]),
        tuple(name for part in parts for name in part.names),
    )  # fmt: skip


class Defacements:
    """A `DefectSource` on good images; the mask is the thresholded soft map, a weak one (`mask: weak`)."""

    method = "defect-gan"

    def __init__(
        self, category: str, defects: tuple[str, ...], network: Defacer, good: Pixels, threshold: float,
        device: torch.device, digest: str,
    ) -> None:  # fmt: skip
        if len(good) == 0:
            raise DataError("Defect-GAN needs at least one good image to change, got none")
        self._category, self._defects, self._network = category, defects, network
        self._good, self._threshold, self._device = good, threshold, device
        pixels = hashlib.sha256(np.ascontiguousarray(good).tobytes()).hexdigest()
        self.digest = hashlib.sha256(f"{digest}\n{threshold}\n{pixels}".encode()).hexdigest()
        self.resolution = network.resolution

    @property
    def category(self) -> str:
        """Object category."""
        return self._category

    @property
    def defects(self) -> tuple[str, ...]:
        """Defect categories, sorted."""
        return self._defects

    @torch.no_grad()
    def sample(self, defect: str, seeds: Sequence[int]) -> list[DefectSample]:
        """One sample per seed, in order, each computed by itself; the mask is empty where the map is faint everywhere.

        Raises:
            UnknownDefectError: `defect` is not in `defects`.
        """
        if defect not in self._defects:
            raise UnknownDefectError(defect, self._category, self._defects)
        label = torch.tensor([1 + self._defects.index(defect)], device=self._device)
        condition = category_map(label, 1 + len(self._defects), self.resolution)
        samples = []
        for seed in seeds:
            rng = np.random.default_rng((int(seed), 0xDEFA))
            number = int(rng.integers(len(self._good)))
            noise = torch.from_numpy(rng.standard_normal((1, self._network.noise_numel), dtype=np.float32))
            clean = self._good[number]
            signal = pixels_to_signal(torch.from_numpy(clean.copy()).permute(2, 0, 1)[None].to(self._device))
            made = self._network(signal, condition, noise.to(self._device))
            soft = made.map[0, 0].cpu().numpy()
            painted = signal_to_pixels(made.over(signal))[0].permute(1, 2, 0).cpu().numpy()
            image = np.where(soft[:, :, None] < UNTOUCHED, clean, painted)
            origin = Provenance(
                self.method, self._category, defect, int(seed), self.digest, {"mask": "weak", "good_image": number}
            )
            mask = (soft >= self._threshold).astype(np.uint8)
            samples.append(DefectSample(image, mask, defect, origin, clean.copy()))
        return samples
