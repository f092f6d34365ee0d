"""A linear probe: one linear layer on a frozen network, the usual classifier for a handful of images.

Its loss is convex, so no step, rate or training seed has to be chosen, and it trains in seconds: arms differ by their
images and by nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from defect_synth.benchmark.downstream.batches import TrainingMix, orientations
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.config import Frozen
from defect_synth.metrics.efficientnet import EfficientNetLite0
from defect_synth.metrics.features import FeatureExtractor, RandomFeatures
from defect_synth.samples import Pixels

_ITERATIONS = 200
_CHUNK = 64  # images between two progress reports


class ProbeConfig(Frozen):
    """How the probe is trained; the same for every arm."""

    features: Path | None = Field(
        default=None, description="EfficientNet-Lite0 weights; None: fixed random convolutions, which need no file."
    )
    weight_decay: float = Field(
        default=0.01, gt=0, le=100, description="Half of this times the squared weights is added to the mean loss."
    )


class Probe(NamedTuple):
    """A trained probe.

    Attributes:
        classes: Names of the labels.
        mean: Mean of the features over the real training images, float64 [D].
        scale: Their standard deviation times sqrt(D), float64 [D].
        weight: Weight of the linear layer, float64 [K, D].
        bias: Bias of the linear layer, float64 [K].
    """

    classes: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def probabilities(self, features: Tensor) -> NDArray[np.float32]:
        """Softmax outputs, float32 [N, K], for features [N, D]."""
        logits = F.linear((features.double() - self.mean) / self.scale, self.weight, self.bias)
        return np.asarray(logits.softmax(1).float().numpy(), dtype=np.float32)


def load_probe_network(config: ProbeConfig, device: str) -> FeatureExtractor:
    """The frozen network that computes the features.

    Raises:
        CheckpointError: The weights file is missing or belongs to another network.
    """
    return RandomFeatures() if config.features is None else EfficientNetLite0(config.features).to(device)


def features_of(
    network: FeatureExtractor, images: Pixels, progress: Callable[[int, int], None] | None = None
) -> Tensor:
    """Features of whole images, uint8 [N, H, W, 3] -> float32 [N, D]; those of an image do not depend on the others."""
    found = []
    for start in range(0, len(images), _CHUNK):
        part = torch.from_numpy(np.ascontiguousarray(images[start : start + _CHUNK].transpose(0, 3, 1, 2)))
        found.append(network(part).cpu())
        if progress is not None:
            progress(min(len(images), start + _CHUNK), len(images))
    return torch.cat(found)


def real_views(real: LabelledArrays, *, flip: bool, rotate90: bool) -> tuple[Pixels, NDArray[np.int64]]:
    """Every orientation of the real images with their labels, as the trained classifier may draw them."""
    views = orientations(real.images, flip=flip, rotate90=rotate90)
    return np.concatenate(views), np.tile(real.labels, len(views))


def train_probe(
    mix: TrainingMix, real: tuple[Tensor, NDArray[np.int64]], synthetic: Tensor | None, config: ProbeConfig
) -> Probe:
    """Multinomial logistic regression in which images have the weights that they have in the arm's batches on average.

    Args:
        mix: Images, labels and shares of the arm.
        real: Features [N, D] and labels [N] of the real images in every orientation.
        synthetic: Features of the generated images, in their order; None if there are none.
        config: Settings.
    """
    features, labels = real
    classes = len(mix.real.classes)
    frequency = np.bincount(mix.real.labels, minlength=classes) / len(mix.real.labels)
    if mix.sampling == "balanced":
        frequency = np.full(classes, 1 / classes)
    made = None if mix.synthetic is None else mix.synthetic.labels
    share = np.zeros(classes)
    if made is not None:
        share[np.bincount(made, minlength=classes) > 0] = mix.share
    parts, truth, weights = [features], [labels], [_spread(labels, frequency * (1 - share))]
    if made is not None and synthetic is not None:
        parts, truth = [*parts, synthetic], [*truth, made]
        weights.append(_spread(made, frequency * share))
    # The real images alone determine the scale, also where their weight is 0 because batches have none.
    mean = features.double().mean(0)
    scale = features.double().std(0).clamp_min(1e-6) * features.shape[1] ** 0.5
    x = (torch.cat(parts).double() - mean) / scale
    weight, bias = _fit(
        x, torch.from_numpy(np.concatenate(truth)), torch.from_numpy(np.concatenate(weights)), classes, config
    )
    return Probe(mix.real.classes, mean, scale, weight, bias)


def _spread(labels: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weight of each image: the share of its class divided by the number of images of that class."""
    counts = np.bincount(labels, minlength=len(shares))
    return np.asarray((shares / np.maximum(counts, 1))[labels], dtype=np.float64)


def _fit(x: Tensor, labels: Tensor, weights: Tensor, classes: int, config: ProbeConfig) -> tuple[Tensor, Tensor]:
    """The minimum of the loss, in float64 by a quasi-Newton method from zero, so that there is no rate to choose."""
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
