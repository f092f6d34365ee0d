"""Train a defect classifier on few real images, with or without generated ones; choose it on validation images.

The paper (Sec. 4.3) says ResNet-34 and no more. What is fixed here so that arms can be compared:

* the number of optimiser steps and the images per step are the same whatever the training set;
* arms with the same sampling see the same labels in the same order; a share of each batch is generated;
* step and learning rate are chosen by balanced accuracy on all orientations of the validation images, then by their
  loss: the same rule for every arm. No test image is in reach of this file's training function.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.benchmark.tasks.batches import BatchSampler, Diet, brighten, orient, orientations, require_alike
from defect_synth.benchmark.tasks.pretrained import start_from
from defect_synth.errors import ConfigError
from defect_synth.nn.torchvision_import import ensure_torchvision
from defect_synth.samples import Pixels

Progress = Callable[[int, int, float], None]
"""Called after each step with steps done, steps in all and the loss."""


class ClassifyConfig(BaseModel):
    """How the classifier is trained; the same for every arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(default="resnet34", description="Name of a timm model; the paper's is ResNet-34.")
    weights: Path | None = Field(
        default=None,
        description="ImageNet weights (.safetensors or .pth), all but the last layer; None: from scratch. "
        "The paper does not say which.",
    )
    steps: int = Field(default=200, ge=1, description="Optimiser steps, the same for every arm.")
    batch: int = Field(default=32, ge=2, description="Images per step.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="Of the forward pass in training; bfloat16 halves the time on newer processors."
    )
    evaluations: int = Field(
        default=4, ge=1, le=100, description="Evenly spaced steps at which the validation images may choose the model."
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="sgd has momentum 0.9 and wants a larger rate."
    )
    learning_rates: tuple[float, ...] = Field(
        default=(1e-3,),
        min_length=1,
        description="Highest rate, cosine to zero after the warm-up; of several, the validation images choose one.",
    )
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps with a linearly rising rate.")
    flip: bool = Field(default=True, description="Mirror at random, both ways; off for parts whose side matters.")
    rotate90: bool = Field(default=True, description="Turn by random quarters (halves where images are not square).")
    brightness: float = Field(default=0.2, ge=0, lt=1, description="Multiply by a factor within 1 +- this.")


class CurvePoint(NamedTuple):
    """One look at a classifier in training: the loss is the mean over the steps since the last look."""

    learning_rate: float
    step: int
    train_loss: float
    validation_accuracy: float | None
    validation_loss: float | None


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained classifier.

    Attributes:
        classes: What its answers mean.
        choice: The point that was kept.
        curve: Every point that could have been.
        steps: Optimiser steps taken for each learning rate.
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
        """Softmax of the answers, float32 [N, K], for uint8 [N, H, W, 3]."""
        logits = _logits(self._model, self._normalise, images, self._batch)
        return np.asarray(logits.softmax(1).numpy(), dtype=np.float32)


def train_classifier(
    diet: Diet,
    validation: LabelledArrays | None,
    config: ClassifyConfig,
    seed: int,
    *,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Trained:
    """Train on `diet` and keep the step and learning rate that the validation images like best.

    With the same seed, device and number of threads the classifier is the same.

    Args:
        diet: What to train on.
        validation: Real images to choose by; None: the last step of the first learning rate.
        config: How to train.
        seed: Of the weights, the batches and the augmentation.
        device: Where to train.
        progress: Called after each step.

    Raises:
        DataError: Sets that do not fit together.
        ConfigError: An unknown architecture, or a learning rate at which training diverges.
        CheckpointError: Weights that cannot be loaded.
    """
    if validation is not None:
        require_alike(diet.real, validation, "validation")
    started = time.perf_counter()
    rates = config.learning_rates if validation is not None else config.learning_rates[:1]
    curve: list[CurvePoint] = []
    best: tuple[CurvePoint, nn.Module, Normalise, dict[str, Tensor]] | None = None
    for number, rate in enumerate(rates):

        def report(step: int, loss: float, before: int = number * config.steps) -> None:
            if progress is not None:
                progress(before + step, len(rates) * config.steps, loss)

        with _seeded(seed, torch.device(device)):
            model, normalise = _build(config, len(diet.real.classes), torch.device(device))
            for point in _fit(model, normalise, diet, validation, config, rate, seed, report):
                curve.append(point)
                if best is None or _rank(point) > _rank(best[0]):
                    best = point, model, normalise, {k: v.clone() for k, v in model.state_dict().items()}
    assert best is not None
    choice, model, normalise, state = best
    model.load_state_dict(state)
    seconds = time.perf_counter() - started
    return Trained(diet.real.classes, choice, tuple(curve), config.steps, seconds, model, normalise, config.batch)


def _rank(point: CurvePoint) -> tuple[float, float, int]:
    """Balanced accuracy, then a low loss; where nothing was looked at, the later step."""
    if point.validation_accuracy is None or point.validation_loss is None:
        return 0.0, 0.0, point.step
    return point.validation_accuracy, -point.validation_loss, 0


def _fit(
    model: nn.Module,
    normalise: Normalise,
    diet: Diet,
    validation: LabelledArrays | None,
    config: ClassifyConfig,
    learning_rate: float,
    seed: int,
    report: Callable[[int, float], None],
) -> Iterator[CurvePoint]:
    batches = BatchSampler(diet, config.batch)
    generator = torch.Generator().manual_seed(seed)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=config.weight_decay, fused=True)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    looks = {round(config.steps * (i + 1) / config.evaluations) for i in range(config.evaluations)}
    losses: list[float] = []
    model.train()
    for step in range(1, config.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _rate(step - 1, config)
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
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"the classifier's loss became {value} at step {step}; leave out the learning rate {learning_rate:g}"
            )
        losses.append(value)
        report(step, value)
        if step in looks:
            accuracy, held_out = (None, None) if validation is None else _judge(model, normalise, validation, config)
            yield CurvePoint(learning_rate, step, float(np.mean(losses)), accuracy, held_out)
            losses.clear()
            model.train()


def _judge(model: nn.Module, normalise: Normalise, held: LabelledArrays, config: ClassifyConfig) -> tuple[float, float]:
    """Mean recall of the classes that are there, and the cross-entropy, over every orientation that training uses.

    A handful of images would otherwise choose by chance alone.
    """
    views = orientations(held.images, flip=config.flip, rotate90=config.rotate90)
    logits = _logits(model, normalise, np.concatenate(views), config.batch)
    labels = torch.from_numpy(np.tile(held.labels, len(views)))
    right = (logits.argmax(1) == labels).float()
    recalls = [float(right[labels == label].mean()) for label in sorted(set(held.labels.tolist()))]
    return sum(recalls) / len(recalls), float(F.cross_entropy(logits, labels))


class Normalise:
    """uint8 [B, H, W, 3] on the CPU -> float32 [B, 3, H, W], channels last, on the device, as the network expects."""

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


def _rate(step: int, config: ClassifyConfig) -> float:
    """Factor of the learning rate: a linear rise to 1, then half a cosine to 0."""
    warm = round(config.steps * config.warmup)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (config.steps - warm)))


def _logits(model: nn.Module, normalise: Normalise, images: Pixels, batch: int) -> Tensor:
    model.eval()
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    with torch.inference_mode():
        answers = [model(normalise(pixels[i : i + batch])).float().cpu() for i in range(0, len(pixels), batch)]
    return torch.cat(answers).clone()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Initial weights and dropout come from torch's global generators: set them for a while, then put them back."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield
