"""The linear probe compared with brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.benchmark.downstream.batches import TrainingMix
from defect_synth.benchmark.downstream.linear_probe import (
    ProbeConfig,
    features_of,
    load_probe_network,
    real_views,
    train_probe,
)
from defect_synth.benchmark.labelled import LabelledArrays
from defect_synth.errors import CheckpointError

CONFIG = ProbeConfig(weight_decay=0.1)


def arrays(labels: list[int], seed: int, name: str) -> LabelledArrays:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (len(labels), 16, 16, 3), dtype=np.uint8)
    return LabelledArrays(images, np.array(labels), ("a", "b"), tuple(f"{name}{i}" for i in range(len(labels))))


def blobs(labels: np.ndarray, seed: int) -> torch.Tensor:
    """Features whose first column mostly separates the labels."""
    x = np.random.default_rng(seed).normal(size=(len(labels), 5)).astype(np.float32)
    x[:, 0] += 2.0 * labels
    return torch.from_numpy(x)


def loss_of(probe, x: torch.Tensor, labels: np.ndarray, weights: np.ndarray) -> torch.Tensor:
    logits = ((x.double() - probe.mean) / probe.scale) @ probe.weight.T + probe.bias
    losses = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    return (torch.from_numpy(weights) * losses).sum() + 0.5 * CONFIG.weight_decay * probe.weight.square().sum()


def test_the_probe_is_at_the_minimum_of_the_weighted_loss():
    real, made = arrays([0, 0, 0, 1], 0, "r"), arrays([0, 1, 1, 1, 1], 1, "s")
    x, y = blobs(real.labels, 2), blobs(made.labels, 3)
    probe = train_probe(TrainingMix(real, made, share=0.4), (x, real.labels), y, CONFIG)
    # Labels as frequent as among the real images (3/4, 1/4), 40 % of each generated.
    weights = np.array([0.75 * 0.6 / 3] * 3 + [0.25 * 0.6] + [0.75 * 0.4] + [0.25 * 0.4 / 4] * 4)
    assert weights.sum() == pytest.approx(1)
    labels, both = np.concatenate([real.labels, made.labels]), torch.cat([x, y])
    best = float(loss_of(probe, both, labels, weights))
    rng = torch.Generator().manual_seed(0)
    for _ in range(20):
        nudged = probe._replace(
            weight=probe.weight + 0.01 * torch.randn(probe.weight.shape, generator=rng, dtype=torch.float64),
            bias=probe.bias + 0.01 * torch.randn(2, generator=rng, dtype=torch.float64),
        )
        assert float(loss_of(nudged, both, labels, weights)) > best


def test_generated_copies_of_the_real_images_change_nothing():
    real = arrays([0, 1, 0, 1, 1], 0, "r")
    x = blobs(real.labels, 2)
    alone = train_probe(TrainingMix(real), (x, real.labels), None, CONFIG)
    copied = train_probe(TrainingMix(real, real, share=0.5), (x, real.labels), x, CONFIG)
    torch.testing.assert_close(alone.weight, copied.weight, atol=1e-5, rtol=1e-4)


def test_a_class_without_generated_images_keeps_the_weight_of_its_real_ones():
    real, made = arrays([0, 1], 0, "r"), arrays([1, 1], 1, "s")
    x = blobs(real.labels, 2)
    probe = train_probe(TrainingMix(real, made, share=1.0), (x, real.labels), blobs(made.labels, 3), CONFIG)
    assert probe.probabilities(x)[0].argmax() == 0  # otherwise nothing would have taught class 0


def test_balanced_sampling_gives_classes_equal_weight():
    real = arrays([0] * 9 + [1], 0, "r")
    x = torch.zeros(10, 3)
    probe = train_probe(TrainingMix(real, sampling="balanced"), (x, real.labels), None, CONFIG)
    np.testing.assert_allclose(probe.probabilities(x)[0], 0.5, atol=1e-6)
    plain = train_probe(TrainingMix(real), (x, real.labels), None, CONFIG)
    np.testing.assert_allclose(plain.probabilities(x)[0], [0.9, 0.1], atol=1e-5)


def test_real_images_are_seen_in_all_eight_orientations():
    real = arrays([0, 1], 0, "r")
    images, labels = real_views(real, flip=True, rotate90=True)
    assert images.shape == (16, 16, 16, 3)
    np.testing.assert_array_equal(labels, [0, 1] * 8)
    assert len({image.tobytes() for image in images}) == 16


def test_features_of_an_image_do_not_depend_on_the_others():
    network = load_probe_network(ProbeConfig(), "cpu")
    images = arrays([0] * 70, 0, "r").images
    together = features_of(network, images)
    torch.testing.assert_close(together[66:67], features_of(network, images[66:67]), atol=1e-5, rtol=1e-5)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*none\.pth"):
        load_probe_network(ProbeConfig(features=tmp_path / "none.pth"), "cpu")
