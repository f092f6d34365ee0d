"""A small U-Net trained on a few real masks, with or without generated ones."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from defect_synth.benchmark.downstream.batches import BatchSampler, TrainingMix, brighten, orient
from defect_synth.benchmark.downstream.classifier import TrainingCallback
from defect_synth.benchmark.downstream.unet import UNet
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.config import Frozen
from defect_synth.samples import Pixels

_THRESHOLDS = np.linspace(0.05, 0.95, 19)


class SegmentConfig(Frozen):
    """How the U-Net is trained; the same for every arm."""

    arms: tuple[str, ...] = Field(
        default=(
            "real",
            "real + standard augmentation",
            "real + Crop&Paste",
            "real + careful paste",
            "real + DFMGAN",
            "real + painter",
            "real + paste + painter",
            "real + Cutout",
            "real + CutPaste",
            "real + CutPaste scar",
            "real + Perlin",
            "Finetune only",
            "DiffAug only",
            "CDC only",
            "SDGAN only",
            "Defect-GAN only",
        ),
        description="The arms in the table; they must be among the benchmark's. Those without masks have '-' there.",
    )
    steps: int = Field(default=400, ge=1, le=10**7, description="Optimiser steps, the same for every arm.")
    batch: int = Field(default=16, ge=4, le=4096)
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of the forward pass in training; bfloat16 halves the time on newer processors.",
    )
    good_share: float = Field(default=0.25, ge=0, lt=1, description="Share of each batch that is defect-free.")
    channels: int = Field(default=16, ge=4, le=512)
    levels: int = Field(default=3, ge=1, le=5)
    learning_rate: float = Field(default=2e-3, gt=0, le=100)
    weight_decay: float = Field(default=0.01, ge=0, le=100)
    brightness: float = Field(default=0.2, ge=0, lt=1)


@dataclass(frozen=True, eq=False)
class TrainedSegmenter:
    """A trained U-Net.

    Attributes:
        threshold: Chosen on the validation images by pixel F1; 0.5 if there are none.
        seconds: Wall time of training.
    """

    threshold: float
    seconds: float
    _model: UNet
    _device: torch.device

    def maps(self, images: Pixels) -> NDArray[np.float32]:
        """Probability of a defect at each pixel, float32 [N, H, W], for images uint8 [N, H, W, 3]."""
        return _maps(self._model, images, self._device)


def train_segmenter(
    mix: TrainingMix,
    good: Pixels,
    validation: LabelledArrays | None,
    config: SegmentConfig,
    seed: int,
    *,
    device: str | torch.device = "cpu",
    progress: TrainingCallback | None = None,
) -> TrainedSegmenter:
    """Train a U-Net on defect masks; a fixed share of every batch is defect-free.

    Args:
        mix: Defect images with masks.
        good: Defect-free training images, uint8 [N, H, W, 3].
        validation: Real defect images with masks that the threshold is chosen on; None: it is 0.5.
        config: Settings.
        seed: Seed of the weights, the batches and the augmentation.
        device: Where to train.
        progress: Called after each step.
    """
    started = time.perf_counter()
    place = torch.device(device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: Any = UNet(config.channels, config.levels)
    model = model.to(device=place, memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    num_good = round(config.batch * config.good_share) if len(good) else 0
    batches = BatchSampler(mix, config.batch - num_good, with_masks=True)
    empty = torch.from_numpy(np.ascontiguousarray(good))
    optimizer = torch.optim.AdamW(
        model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps + 1)
    model.train()
    for step in range(1, config.steps + 1):
        stacked, _, _ = batches.draw(generator)  # [B, H, W, 4], the mask last
        if num_good:
            chosen = empty[torch.randint(len(empty), (num_good,), generator=generator)]
            stacked = torch.cat([stacked, F.pad(chosen, (0, 1))])
        stacked = orient(stacked, generator)
        images = brighten(stacked[..., :3], config.brightness, generator)
        truth = stacked[..., 3:].permute(0, 3, 1, 2).to(device=place, dtype=torch.float32)
        with torch.autocast(place.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = model(_signal(images, place))
        logits = logits.float()
        loss = F.binary_cross_entropy_with_logits(logits, truth) + _dice_loss(logits, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step, config.steps, float(loss.detach()))
    threshold = 0.5
    if validation is not None and validation.masks is not None and validation.masks.any():
        maps = _maps(model, validation.images, place)
        truth_mask = validation.masks.astype(bool)
        scores = [
            2 * ((maps >= t) & truth_mask).sum() / max(1, (maps >= t).sum() + truth_mask.sum()) for t in _THRESHOLDS
        ]
        threshold = float(_THRESHOLDS[int(np.argmax(scores))])
    return TrainedSegmenter(threshold, time.perf_counter() - started, model, place)


def _dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice over the batch: thin defects are few pixels, which cross-entropy alone neglects."""
    chance = logits.sigmoid()
    return 1 - (2 * (chance * truth).sum() + 1) / (chance.sum() + truth.sum() + 1)


def _signal(images: Tensor, device: torch.device) -> Tensor:
    return (images.to(device).to(torch.float32) / 127.5 - 1).permute(0, 3, 1, 2)


def _maps(model: UNet, images: Pixels, device: torch.device) -> NDArray[np.float32]:
    model.eval()
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    with torch.inference_mode():
        maps = [model(_signal(pixels[i : i + 32], device)).sigmoid()[:, 0].cpu() for i in range(0, len(pixels), 32)]
    return torch.cat(maps).numpy()
