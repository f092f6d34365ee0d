"""A linear probe: one linear layer on a frozen network, the classifier of those who have a handful of images.

Its loss is convex, so that no step, rate or training seed has to be chosen, and it needs seconds: arms differ by their
images and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.benchmark.tasks.batches import Diet, orientations
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import FeatureExtractor, RandomFeatures
from defect_synth.samples import Pixels

_ITERATIONS = 200
_CHUNK = 64  # images whose features are computed between two reports


class ProbeConfig(BaseModel):
    """How the probe is trained; the same for every arm."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: Path | None = Field(
        default=None, description="EfficientNet-Lite0's weights; None: fixed random convolutions, which need no file."
    )
    weight_decay: float = Field(
        default=0.01, gt=0, le=100, description="Half of this times the squared weights is added to the mean loss."
    )


class Probe(NamedTuple):
    """A trained probe.

    Attributes:
        classes: What its answers mean.
        mean: Of the features over the real training images, float64 [D].
        scale: Their deviation times sqrt(D), float64 [D].
        weight: float64 [K, D].
        bias: float64 [K].
    """

    classes: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def probabilities(self, features: Tensor) -> NDArray[np.float32]:
        """Softmax of the answers, float32 [N, K], for features [N, D]."""
        logits = F.linear((features.double() - self.mean) / self.scale, self.weight, self.bias)
        return np.asarray(logits.softmax(1).float().numpy(), dtype=np.float32)


def load_probe_network(config: ProbeConfig, device: str) -> FeatureExtractor:
    """The frozen network.

    Raises:
        CheckpointError: The file of weights is missing or holds another network.
    """
    return RandomFeatures() if config.features is None else EfficientNetLite0(config.features).to(device)


def features_of(
    network: FeatureExtractor, images: Pixels, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """Features of whole images, uint8 [N, H, W, 3] -> float32 [N, D]; each as if it were alone."""
    found = []
    for start in range(0, len(images), _CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + _CHUNK].transpose(0, 3, 1, 2)))
        found.append(network(part).cpu())
        if progress is not None:
            progress(min(len(images), start + _CHUNK), len(images))
    return torch.cat(found)


def real_views(real: LabelledArrays, *, flip: bool, rotate90: bool) -> tuple[Pixels, NDArray[np.int64]]:
    """Every orientation of the real images with their labels: the flips and turns that other classifiers draw."""
    views = orientations(real.images, flip=flip, rotate90=rotate90)
    return np.concatenate(views), np.tile(real.labels, len(views))


def train_probe(
    diet: Diet, real: tuple[Tensor, NDArray[np.int64]], synthetic: Tensor | None, config: ProbeConfig
) -> Probe:
    """Multinomial logistic regression, weighted as the arm's batches are on average.

    Args:
        diet: The arm's images, labels and shares.
        real: Features [N, D] and labels [N] of the real images in all their orientations.
        synthetic: Features of the generated images, in their order; None without.
        config: How.
    """
    features, labels = real
    classes = len(diet.real.classes)
    frequency = np.bincount(diet.real.labels, minlength=classes) / len(diet.real.labels)
    if diet.sampling == "balanced":
        frequency = np.full(classes, 1 / classes)
    made = None if diet.synthetic is None else diet.synthetic.labels
    share = np.zeros(classes)
    if made is not None:
        share[np.bincount(made, minlength=classes) > 0] = diet.share
    parts, truth, weights = [features], [labels], [_spread(labels, frequency * (1 - share))]
    if made is not None and synthetic is not None:
        parts, truth = [*parts, synthetic], [*truth, made]
        weights.append(_spread(made, frequency * share))
    # The real images alone set the scale: where no batch has any, their weight is 0, and their scale still serves.
    mean = features.double().mean(0)
    scale = features.double().std(0).clamp_min(1e-6) * features.shape[1] ** 0.5
    x = (torch.cat(parts).double() - mean) / scale
    weight, bias = _fit(
        x, torch.from_numpy(np.concatenate(truth)), torch.from_numpy(np.concatenate(weights)), classes, config
    )
    return Probe(diet.real.classes, mean, scale, weight, bias)


def _spread(labels: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each image: the share of its class, divided among the images of that class."""
    counts = np.bincount(labels, minlength=len(shares))
    return np.asarray((shares / np.maximum(counts, 1))[labels], dtype=np.float64)


def _fit(x: Tensor, labels: Tensor, weights: Tensor, classes: int, config: ProbeConfig) -> tuple[Tensor, Tensor]:
    """The minimum, from zero: in float64, by a quasi-Newton method, so that it does not depend on a rate."""
    weight = torch.zeros(classes, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_ITERATIONS, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        losses = F.cross_entropy(F.linear(x, weight, bias), labels, reduction="none")
        total = (weights * losses).sum() + 0.5 * config.weight_decay * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
