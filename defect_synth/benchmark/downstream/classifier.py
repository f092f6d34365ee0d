"""A classifier of defect categories trained on few real images, with or without generated ones.

The paper (Sec. 4.3, Duan et al. 2023) says that it is a ResNet-34 and nothing else about it. So that arms can be
compared:

* the number of optimiser steps and the images per step are the same whatever the training set;
* arms with the same sampling see the same labels in the same order; a share of each batch is generated;
* step and learning rate are chosen by balanced accuracy on all orientations of the validation images, then by their
  loss: the same rule for every arm. The training function has no access to test images.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from defect_synth.benchmark.downstream.batches import (
    BatchSampler,
    TrainingMix,
    brighten,
    orient,
    orientations,
    require_alike,
)
from defect_synth.benchmark.downstream.pretrained import start_from
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.benchmark.task_results import CurvePoint
from defect_synth.config import Frozen
from defect_synth.errors import ConfigError
from defect_synth.nn.torchvision_import import ensure_torchvision
from defect_synth.samples import Pixels

TrainingCallback = Callable[[int, int, float], None]
"""Called after each step with (steps done, total steps, loss)."""


class ClassifyConfig(Frozen):
    """How the classifier is trained; the same for every arm."""

    architecture: str = Field(default="resnet34", description="Name of a timm model; the paper uses ResNet-34.")
    weights: Path | None = Field(
        default=None,
        description="ImageNet weights (.safetensors or .pth) of all layers but the last; None: from scratch. "
        "The paper does not say which it uses.",
    )
    steps: int = Field(default=200, ge=1, le=10**7, description="Optimiser steps, the same for every arm.")
    batch: int = Field(default=32, ge=2, le=4096, description="Images per step.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of the forward pass in training; bfloat16 halves the time on newer processors.",
    )
    evaluations: int = Field(
        default=4, ge=1, le=100, description="Number of evenly spaced steps among which the validation images choose."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="sgd has momentum 0.9 and needs a larger learning rate."
    )
    learning_rates: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        default=(1e-3,),
        min_length=1,
        max_length=20,
        description="Rate after the warm-up, then a cosine to zero; of several, the validation images choose one.",
    )
    weight_decay: float = Field(default=0.05, ge=0, le=100)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps in which the rate rises linearly.")
    flip: bool = Field(default=True, description="Flip at random along both axes; off for parts whose side matters.")
    rotate90: bool = Field(default=True, description="Rotate by random multiples of 90 degrees (180 if not square).")
    brightness: float = Field(
        default=0.2, ge=0, lt=1, description="Multiply each image by a random factor in 1 +- this."
    )


@dataclass(frozen=True, eq=False)
class TrainedClassifier:
    """A trained classifier.

    Attributes:
        classes: Names of the labels.
        choice: The evaluation whose weights were kept.
        curve: All evaluations.
        steps: Optimiser steps for each learning rate.
        seconds: Wall time of training.
    """

    classes: tuple[str, ...]
    choice: CurvePoint
    curve: tuple[CurvePoint, ...]
    steps: int
    seconds: float
    _model: nn.Module
    _normalise: Normalise
    _batch: int

    def probabilities(self, images: Pixels) -> NDArray[np.float32]:
        """Softmax outputs, float32 [N, K], for images uint8 [N, H, W, 3]."""
        logits = _logits(self._model, self._normalise, images, self._batch)
        return np.asarray(logits.softmax(1).numpy(), dtype=np.float32)


def train_classifier(
    mix: TrainingMix,
    validation: LabelledArrays | None,
    config: ClassifyConfig,
    seed: int,
    *,
    device: str | torch.device = "cpu",
    progress: TrainingCallback | None = None,
) -> TrainedClassifier:
    """Train on `mix` and keep the step and learning rate that are best on the validation images.

    The same seed, device and number of threads give the same classifier.

    Args:
        mix: Training images.
        validation: Real images to choose on; None: the last step of the first learning rate is kept.
        config: Settings.
        seed: Seed of the weights, the batches and the augmentation.
        device: Where to train.
        progress: Called after each step.

    Raises:
        DataError: Training and validation images differ in classes or size.
        ConfigError: The architecture is unknown, or training diverges.
        CheckpointError: The weights cannot be loaded.
    """
    if validation is not None:
        require_alike(mix.real, validation, "validation")
    started = time.perf_counter()
    rates = config.learning_rates if validation is not None else config.learning_rates[:1]
    curve: list[CurvePoint] = []
    best: tuple[CurvePoint, nn.Module, Normalise, dict[str, Tensor]] | None = None
    for number, rate in enumerate(rates):

        def report(step: int, loss: float, before: int = number * config.steps) -> None:
            if progress is not None:
                progress(before + step, len(rates) * config.steps, loss)

        with _seeded(seed, torch.device(device)):
            model, normalise = _build(config, len(mix.real.classes), torch.device(device))
            for point in _train(model, normalise, mix, validation, config, rate, seed, report):
                curve.append(point)
                if best is None or _rank(point) > _rank(best[0]):
                    best = point, model, normalise, {k: v.clone() for k, v in model.state_dict().items()}
    assert best is not None
    choice, model, normalise, state = best
    model.load_state_dict(state)
    seconds = time.perf_counter() - started
    return TrainedClassifier(
        mix.real.classes, choice, tuple(curve), config.steps, seconds, model, normalise, config.batch
    )


def _rank(point: CurvePoint) -> tuple[float, float, int]:
    """Balanced accuracy, then a low loss; without validation images, the later step."""
    if point.validation_accuracy is None or point.validation_loss is None:
        return 0.0, 0.0, point.step
    return point.validation_accuracy, -point.validation_loss, 0


def _train(
    model: nn.Module,
    normalise: Normalise,
    mix: TrainingMix,
    validation: LabelledArrays | None,
    config: ClassifyConfig,
    learning_rate: float,
    seed: int,
    report: Callable[[int, float], None],
) -> Iterator[CurvePoint]:
    batches = BatchSampler(mix, config.batch)
    generator = torch.Generator().manual_seed(seed)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=config.weight_decay, fused=True)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    evaluated = {round(config.steps * (i + 1) / config.evaluations) for i in range(config.evaluations)}
    schedule = _schedule(optimizer, config)
    losses: list[float] = []
    model.train()
    for step in range(1, config.steps + 1):
        images, labels, _ = batches.draw(generator)
        images = orient(images, generator, flip=config.flip, rotate90=config.rotate90)
        inputs = normalise(brighten(images, config.brightness, generator))
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits = model(inputs)
        logits = logits.float()
        loss = F.cross_entropy(logits, labels.to(logits.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"the classifier's loss became {value} at step {step}; leave out the learning rate {learning_rate:g}"
            )
        losses.append(value)
        report(step, value)
        if step in evaluated:
            accuracy, loss_there = (
                (None, None) if validation is None else _validate(model, normalise, validation, config)
            )
            yield CurvePoint(learning_rate, step, float(np.mean(losses)), accuracy, loss_there)
            losses.clear()
            model.train()


def _validate(
    model: nn.Module, normalise: Normalise, validation: LabelledArrays, config: ClassifyConfig
) -> tuple[float, float]:
    """Balanced accuracy and cross-entropy over every orientation of the validation images that training may draw.

    Without the orientations, a handful of images would choose by chance alone.
    """
    views = orientations(validation.images, flip=config.flip, rotate90=config.rotate90)
    logits = _logits(model, normalise, np.concatenate(views), config.batch)
    labels = torch.from_numpy(np.tile(validation.labels, len(views)))
    right = (logits.argmax(1) == labels).float()
    recalls = [float(right[labels == label].mean()) for label in sorted(set(validation.labels.tolist()))]
    return sum(recalls) / len(recalls), float(F.cross_entropy(logits, labels))


class Normalise:
    """uint8 [B, H, W, 3] on the CPU -> float32 [B, 3, H, W] on the device, normalised as the network expects."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(mean, device=device)
        self._std = torch.tensor(std, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        values = (images.to(self._device).to(torch.float32) / 255 - self._mean) / self._std
        return values.permute(0, 3, 1, 2)


def _build(config: ClassifyConfig, classes: int, device: torch.device) -> tuple[nn.Module, Normalise]:
    ensure_torchvision()
    import timm

    if not timm.is_model(config.architecture):
        close = difflib.get_close_matches(config.architecture, timm.list_models(), n=3)
        raise ConfigError(
            f"unknown architecture {config.architecture!r}; did you mean {', '.join(close) or 'resnet34'}?"
        )
    model: nn.Module = timm.create_model(config.architecture, num_classes=classes)
    if config.weights is not None:
        start_from(model, config.weights, config.architecture)
    expected = timm.data.resolve_model_data_config(model)
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, Normalise(expected["mean"], expected["std"], device)


def _schedule(optimizer: torch.optim.Optimizer, config: ClassifyConfig) -> torch.optim.lr_scheduler.LRScheduler:
    """A linear rise to the learning rate, then half a cosine to 0."""
    warmup = round(config.steps * config.warmup)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, config.steps - warmup))
    if not warmup:
        return cosine
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, cosine], [warmup])


def _logits(model: nn.Module, normalise: Normalise, images: Pixels, batch: int) -> Tensor:
    model.eval()
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    with torch.inference_mode():
        answers = [model(normalise(pixels[i : i + batch])).float().cpu() for i in range(0, len(pixels), batch)]
    return torch.cat(answers).clone()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators, which initial weights and dropout use, and restore them afterwards."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield
