"""Train a defect classifier on few real images, with or without generated ones, and score it on held-out real images.

The paper (Sec. 4.3) says ResNet-34 and no more. What is fixed here so that arms can be compared:

* the number of optimiser steps and the images per step are the same whatever the training set;
* the arms see the same labels in the same order; a share of each batch is generated, the rest is real;
* the network of the last step is scored; the test images are looked at once, after training.
"""

from __future__ import annotations

import difflib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from defect_synth._compat import ensure_torchvision
from defect_synth.errors import CheckpointError, ConfigError, DataError
from defect_synth.samples import DefectSample, Pixels

Progress = Callable[[int, int, float], None]
"""Called after each step with steps done, steps in all and the loss."""


@dataclass(frozen=True, eq=False)
class LabelledArrays:
    """Images of one size in memory.

    Attributes:
        images: uint8 [N, H, W, 3], RGB.
        labels: int64 [N], index into `classes`.
        classes: Names of the labels: defect categories, `good` among them where it is to be told apart too.
        names: What each image is called, [N], each once: tells whether two partitions show the same image.
        masks: uint8 [N, H, W], 1 on the defect, for sources that learn from them; None where there are none.

    Raises:
        DataError: Shapes, types, labels or names that do not fit together.
    """

    images: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    masks: Pixels | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[3] != 3 or count == 0:
            raise DataError(f"images must be uint8 [N, H, W, 3], got {self.images.dtype} {list(self.images.shape)}")
        if self.labels.dtype != np.int64 or self.labels.shape != (count,):
            raise DataError(f"labels must be int64 [{count}], got {self.labels.dtype} {list(self.labels.shape)}")
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError(f"labels must be 0..{len(self.classes) - 1}, got {self.labels.min()}..{self.labels.max()}")
        if len(self.names) != count or len(set(self.names)) != count:
            raise DataError(f"expected {count} different names, got {len(set(self.names))}")
        if self.masks is not None and (self.masks.dtype != np.uint8 or self.masks.shape != self.images.shape[:3]):
            raise DataError(f"masks must be uint8 {list(self.images.shape[:3])}, got {list(self.masks.shape)}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[1], self.images.shape[2]

    @classmethod
    def from_samples(cls, samples: Iterable[DefectSample], classes: tuple[str, ...]) -> LabelledArrays:
        """Samples of a source, labelled by their defect and named by method, defect and seed."""
        samples = list(samples)
        sizes = {sample.mask.shape for sample in samples}
        if len(sizes) != 1:
            raise DataError(f"expected samples of one size, got {sorted(sizes) or 'none'}")
        return cls(
            np.stack([sample.image for sample in samples]),
            np.array([classes.index(sample.defect) for sample in samples], dtype=np.int64),
            classes,
            tuple(f"{s.provenance.method}/{s.defect}/{s.provenance.seed}" for s in samples),
            np.stack([sample.mask for sample in samples]),
        )


class ClassifyConfig(BaseModel):
    """How the classifier is trained; the same for every arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str = Field(default="resnet34", description="Name of a timm model; the paper's is ResNet-34.")
    weights: Path | None = Field(
        default=None,
        description="ImageNet weights (.safetensors or .pth); None: from scratch. The paper does not say which.",
    )
    steps: int = Field(default=200, ge=1, description="Optimiser steps, the same for every arm.")
    batch: int = Field(default=32, ge=2, description="Images per step.")
    synthetic_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of each batch that is generated; 1: all of it."
    )
    sampling: Literal["balanced", "proportional"] = Field(
        default="balanced",
        description="Labels of a batch: all equally likely, or as frequent as in the real training images.",
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="sgd has momentum 0.9 and wants a larger rate."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Highest rate; cosine to zero after the warm-up.")
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps with a linearly rising rate.")
    flip: bool = Field(default=True, description="Mirror at random, both ways; off for parts whose side matters.")
    rotate90: bool = Field(default=True, description="Turn by random quarters (halves where images are not square).")
    brightness: float = Field(default=0.2, ge=0, lt=1, description="Multiply by a factor within 1 +- this.")


@dataclass(frozen=True, eq=False)
class Score:
    """What a trained classifier does on the test images.

    Attributes:
        accuracy: Share of right answers.
        recall: Class -> share of its images that were recognised; None where the test set has none.
        confusion: int64 [K, K], rows are the truth, columns the answers.
        predictions: int64 [N], answers in the order of the test images.
        steps: Optimiser steps taken.
        seconds: Wall time of training.
    """

    accuracy: float
    recall: dict[str, float | None]
    confusion: NDArray[np.int64]
    predictions: NDArray[np.int64]
    steps: int
    seconds: float


def train_and_score(
    train: LabelledArrays,
    test: LabelledArrays,
    config: ClassifyConfig,
    seed: int,
    *,
    synthetic: LabelledArrays | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Score:
    """Train on `train` (and `synthetic`), then answer for `test` once.

    With the same seed, device and number of threads the answers are the same. Without `synthetic` every image of a
    batch is real; everything else, including labels and their order, is as with it.

    Args:
        train: Real training images; they also set how frequent each label is.
        test: Real images that are used for nothing but the score.
        config: How to train.
        seed: Of the weights, the batches and the augmentation.
        synthetic: Generated images, `config.synthetic_share` of each batch. A label it has no image of stays real.
        device: Where to train.
        progress: Called after each step.

    Raises:
        DataError: Sets that do not fit together, or a label without any training image.
        ConfigError: An unknown architecture, or a learning rate at which training diverges.
        CheckpointError: Weights that cannot be loaded.
    """
    _check_sets(train, test, synthetic)
    started = time.perf_counter()
    with _seeded(seed, torch.device(device)):
        model, normalise = _build(config, len(train.classes), torch.device(device))
        _fit(model, normalise, train, synthetic, config, seed, progress)
        seconds = time.perf_counter() - started
        predictions = _predict(model, normalise, test.images, config.batch)
    classes = len(test.classes)
    confusion = np.bincount(test.labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
    recall = {
        name: float(row[label] / row.sum()) if row.sum() else None
        for label, (name, row) in enumerate(zip(test.classes, confusion, strict=True))
    }
    accuracy = float((predictions == test.labels).mean())
    return Score(accuracy, recall, confusion.astype(np.int64), predictions, config.steps, seconds)


class BatchSampler:
    """Draws training batches: labels first, then an image for each, of which a share is generated.

    Args:
        real: Real training images.
        synthetic: Generated images or None.
        config: `batch`, `sampling` and `synthetic_share`.
    """

    def __init__(self, real: LabelledArrays, synthetic: LabelledArrays | None, config: ClassifyConfig) -> None:
        self._real = _ByLabel(real)
        self._synthetic = None if synthetic is None else _ByLabel(synthetic)
        self._labels = torch.from_numpy(real.labels)
        self._classes = len(real.classes)
        self._config = config

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images uint8 [B, H, W, 3], labels int64 [B], and whether each is generated, bool [B].

        What is drawn from `generator` does not depend on there being generated images.
        """
        batch = self._config.batch
        if self._config.sampling == "balanced":
            labels = torch.randint(self._classes, (batch,), generator=generator)
        else:
            labels = self._labels[torch.randint(len(self._labels), (batch,), generator=generator)]
        places = torch.rand(batch, generator=generator)
        if self._synthetic is None:
            return self._real.pick(labels, places), labels, torch.zeros(batch, dtype=torch.bool)
        generated = torch.arange(batch) < round(batch * self._config.synthetic_share)
        generated &= self._synthetic.counts[labels] > 0
        images = torch.empty(batch, *self._real.images.shape[1:], dtype=torch.uint8)
        for pool, chosen in ((self._real, ~generated), (self._synthetic, generated)):
            if chosen.any():
                images[chosen] = pool.pick(labels[chosen], places[chosen])
        return images, labels, generated


def augment(images: Tensor, config: ClassifyConfig, generator: torch.Generator) -> Tensor:
    """Flips, quarter turns and brightness, each image by its own draws.

    Args:
        images: uint8 [B, H, W, 3].
        config: `flip`, `rotate90` and `brightness`.
        generator: On the CPU.

    Returns:
        uint8 [B, H, W, 3].
    """
    count, height, width = images.shape[:3]
    if config.flip:
        for axis in (1, 2):
            chosen = torch.rand(count, generator=generator) < 0.5
            images = torch.where(chosen[:, None, None, None], images.flip(axis), images)
    if config.rotate90:
        turns = torch.randint(4, (count,), generator=generator)
        if height != width:
            turns = turns // 2 * 2
        turned = images.clone()
        for quarter in (1, 2, 3):
            chosen = turns == quarter
            if chosen.any():
                turned[chosen] = images[chosen].rot90(quarter, (1, 2))
        images = turned
    if config.brightness > 0:
        factor = 1 + config.brightness * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
        images = (images * factor).round().clamp(0, 255).to(torch.uint8)
    return images


class _ByLabel:
    """Images in the order of their labels, so that one of a label is found by arithmetic."""

    def __init__(self, arrays: LabelledArrays) -> None:
        self.images = torch.from_numpy(np.ascontiguousarray(arrays.images))
        self.counts = torch.from_numpy(np.bincount(arrays.labels, minlength=len(arrays.classes)))
        self._order = torch.from_numpy(np.argsort(arrays.labels, kind="stable"))
        self._starts = self.counts.cumsum(0) - self.counts

    def pick(self, labels: Tensor, places: Tensor) -> Tensor:
        """An image of each label; `places` in [0, 1) says which."""
        counts = self.counts[labels]
        offsets = (places * counts).long().clamp(max=counts - 1)
        return self.images[self._order[self._starts[labels] + offsets]]


class _Normalise:
    """uint8 [B, H, W, 3] on the CPU -> float32 [B, 3, H, W], channels last, on the device, as the network expects."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self._device = device
        self._mean = torch.tensor(mean, device=device)
        self._std = torch.tensor(std, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        values = (images.to(self._device).to(torch.float32) / 255 - self._mean) / self._std
        return values.permute(0, 3, 1, 2)


def _check_sets(train: LabelledArrays, test: LabelledArrays, synthetic: LabelledArrays | None) -> None:
    for name, other in (("test", test), ("synthetic", synthetic)):
        if other is None:
            continue
        if other.classes != train.classes:
            raise DataError(f"classes differ: train {', '.join(train.classes)}; {name} {', '.join(other.classes)}")
        if other.size != train.size:
            raise DataError(f"sizes differ: train images are {train.size}, {name} images {other.size}; load both alike")
    missing = [name for label, name in enumerate(train.classes) if not (train.labels == label).any()]
    if missing:
        raise DataError(f"no training image of {', '.join(missing)}; leave it out of classes or add images")


def _build(config: ClassifyConfig, classes: int, device: torch.device) -> tuple[nn.Module, _Normalise]:
    ensure_torchvision()
    import timm

    if not timm.is_model(config.architecture):
        close = difflib.get_close_matches(config.architecture, timm.list_models(), n=3)
        raise ConfigError(
            f"unknown architecture {config.architecture!r}; did you mean {', '.join(close) or 'resnet34'}?"
        )
    loading: dict[str, Any] = {}
    if config.weights is not None:
        if not config.weights.is_file():
            raise CheckpointError(f"no weights file {config.weights}; expected .safetensors or .pth of timm")
        loading = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(config.weights)))
    try:
        model: nn.Module = timm.create_model(config.architecture, num_classes=classes, **loading)
    except Exception as error:  # whatever a damaged or foreign file makes torch, safetensors or timm raise
        if config.weights is None:
            raise
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise CheckpointError(f"{config.weights} does not fit {config.architecture}: {reason}") from error
    expected = timm.data.resolve_model_data_config(model)
    model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, _Normalise(expected["mean"], expected["std"], device)


def _fit(
    model: nn.Module,
    normalise: _Normalise,
    train: LabelledArrays,
    synthetic: LabelledArrays | None,
    config: ClassifyConfig,
    seed: int,
    progress: Progress | None,
) -> None:
    batches = BatchSampler(train, synthetic, config)
    generator = torch.Generator().manual_seed(seed)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), config.learning_rate, momentum=0.9, nesterov=True, weight_decay=config.weight_decay
        )
    model.train()
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _rate(step, config)
        images, labels, _ = batches.draw(generator)
        logits = model(normalise(augment(images, config, generator)))
        loss = F.cross_entropy(logits, labels.to(logits.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ConfigError(
                f"the classifier's loss became {value} at step {step + 1}; lower learning_rate {config.learning_rate}"
            )
        if progress is not None:
            progress(step + 1, config.steps, value)


def _rate(step: int, config: ClassifyConfig) -> float:
    """Factor of the learning rate: a linear rise to 1, then half a cosine to 0."""
    warm = round(config.steps * config.warmup)
    if step < warm:
        return (step + 1) / (warm + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / (config.steps - warm)))


def _predict(model: nn.Module, normalise: _Normalise, images: Pixels, batch: int) -> NDArray[np.int64]:
    model.eval()
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    with torch.inference_mode():
        answers = [model(normalise(pixels[i : i + batch])).argmax(1).cpu() for i in range(0, len(pixels), batch)]
    return torch.cat(answers).numpy()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Initial weights and dropout come from torch's global generators: set them for a while, then put them back."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.backends.cudnn.flags(deterministic=True, benchmark=False):
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield
