"""A small head on frozen feature maps that says for each position how likely it is a defect.

It is what an engineer with a handful of defects would train: a minute on one core, converged, no layer of the network
underneath to overfit. From its map an image gets a score, so that one head detects and segments.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from defect_synth.benchmark.progress import StepCallback
from defect_synth.config import Frozen

_GROUPS = 8
_THRESHOLDS = np.linspace(0.05, 0.95, 19)
_HIGHEST = 2000  # an image's score is the mean of the 1/2000 highest values of its map
_CHUNK = 32


class HeadConfig(Frozen):
    """How the head is trained; the same for every arm."""

    features: Path | None = Field(
        default=None,
        description="EfficientNet-Lite0 weights; None: those of the extra `features`, or else random convolutions.",
    )
    side: int = Field(default=256, ge=32, le=1024, multiple_of=32, description="Side of the network's input in pixels.")
    steps: int = Field(default=300, ge=1, le=10**6, description="Optimiser steps, the same for every arm.")
    batch: int = Field(default=10, ge=2, le=1024)
    good: int = Field(default=3, ge=1, le=100_000, description="Defect-free images of each batch.")
    channels: int = Field(default=64, ge=8, le=1024, multiple_of=8)
    learning_rate: float = Field(default=2e-3, gt=0, le=100)
    weight_decay: float = Field(default=0.01, ge=0, le=100)


class MaskedMaps(NamedTuple):
    """Standardised feature maps, float16 [N, C, h, w], and masks at their positions, float32 [N, 1, h, w]."""

    maps: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class PixelHead:
    """A trained head.

    Attributes:
        threshold: Chosen by pixel F1 on the images that it was given for that.
        seconds: Wall time of training.
    """

    threshold: float
    seconds: float
    _layers: nn.Module

    def probabilities(self, maps: Tensor) -> NDArray[np.float32]:
        """Chance of a defect at each position: float16 [N, C, h, w] -> float32 [N, h, w]."""
        return _probabilities(self._layers, maps)


def image_scores(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """A score for each image from its map [N, h, w]: the mean of the highest values."""
    flat = probabilities.reshape(len(probabilities), -1)
    most = max(1, round(flat.shape[1] / _HIGHEST))
    return np.asarray(np.sort(flat, axis=1)[:, -most:].mean(axis=1), np.float64)


def train_pixel_head(
    real: MaskedMaps,
    good: Tensor,
    synthetic: MaskedMaps | None,
    share: float,
    for_threshold: MaskedMaps,
    config: HeadConfig,
    seed: int,
    progress: StepCallback | None = None,
) -> PixelHead:
    """Train a head on real and generated defect images and on good ones.

    Args:
        real: Real defect images, in every orientation.
        good: Standardised feature maps of good images, float16 [G, C, h, w].
        synthetic: Generated defect images; None: there are none.
        share: Share of the defect images of a batch that are generated.
        for_threshold: Real defect images on which the threshold is chosen.
        config: Settings.
        seed: Seed of the weights and the batches.
        progress: Called after each step.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        layers = _layers(real.maps.shape[1], config.channels)
    optimizer = torch.optim.AdamW(layers.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps + 1)
    generator = torch.Generator().manual_seed(seed)
    defective = config.batch - min(config.good, config.batch - 1)
    made = 0 if synthetic is None else round(defective * share)
    for step in range(1, config.steps + 1):
        # All numbers are drawn in every arm, so that arms see the same real images in the same order.
        places = torch.rand(config.batch, generator=generator, dtype=torch.float64)
        of_good = (places[defective:] * len(good)).long()
        maps, masks = [good[of_good]], [torch.zeros(len(of_good), 1, *real.masks.shape[2:])]
        for source, chosen in ((synthetic, places[:made]), (real, places[made:defective])):
            if source is not None and len(chosen):
                indices = (chosen * len(source.maps)).long()
                maps.append(source.maps[indices])
                masks.append(source.masks[indices])
        truth = torch.cat(masks)
        logits = layers(torch.cat(maps).float())
        loss = F.binary_cross_entropy_with_logits(logits, truth) + _dice_loss(logits, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step, config.steps)
    layers.eval()
    found = _probabilities(layers, for_threshold.maps)
    return PixelHead(_best_threshold(found, for_threshold.masks), time.perf_counter() - started, layers)


def _layers(inputs: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, channels, 1), nn.GroupNorm(_GROUPS, channels), nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, groups=_GROUPS), nn.GroupNorm(_GROUPS, channels), nn.ReLU(),
        nn.Conv2d(channels, 1, 1),
    )  # fmt: skip


def _dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice over the batch: thin defects are few positions, which cross-entropy alone neglects."""
    chance = logits.sigmoid()
    return 1 - (2 * (chance * truth).sum() + 1) / (chance.sum() + truth.sum() + 1)


def _probabilities(layers: nn.Module, maps: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        parts = [layers(part.float()).sigmoid()[:, 0] for part in torch.split(maps, _CHUNK)]
    return np.asarray(torch.cat(parts).numpy(), np.float32)


def _best_threshold(found: NDArray[np.float32], masks: Tensor) -> float:
    truth = masks[:, 0].numpy() > 0.5
    if not truth.any():
        return 0.5
    scores = [2 * ((found >= t) & truth).sum() / max(1, (found >= t).sum() + truth.sum()) for t in _THRESHOLDS]
    return float(_THRESHOLDS[int(np.argmax(scores))])
