"""The objectives of Defect-GAN against the same sums written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.baselines.defect_gan import DefectGAN
from defect_synth.baselines.defect_gan_networks import uniform_category_map
from defect_synth.baselines.system import TrainingSet
from defect_synth.data.store import ImageArrays
from defect_synth.engine.draws import Draws

WEIGHTS = {
    "gradient_penalty_weight": 4.0,
    "classification_weight": 2.0,
    "cycle_weight": 7.0,
    "map_cycle_weight": 3.0,
    "map_area_weight": 0.5,
}


def _images(seed, count):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImageArrays(pixels, np.zeros((count, 32, 32), np.uint8), tuple(map(str, range(count))))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    system = DefectGAN(resolution=32, channels=4, blocks=1, **WEIGHTS)
    training = TrainingSet("nut", _images(0, 5), {"hole": _images(1, 3), "cut": _images(2, 3)})
    return system.steps(training, tmp_path_factory.mktemp("run"), torch.device("cpu"))[0].build()


def _passes(stage, b):
    """Composed image and map of the four passes: deface and restore, restore and deface."""
    network, clean = stage.modules["generator"], torch.zeros(4, dtype=torch.long)

    def one(image, labels, noise):
        layer = network(image, uniform_category_map(labels, 3, 32), noise)
        soft = layer.map.numpy()
        return image.numpy() * (1 - soft) + layer.colour.numpy() * soft, soft

    fake_defective = one(b.normal, b.targets, b.noise[0])
    cycled_normal = one(torch.from_numpy(fake_defective[0]), clean, b.noise[1])
    fake_normal = one(b.defective, clean, b.noise[2])
    cycled_defective = one(torch.from_numpy(fake_normal[0]), b.labels, b.noise[3])
    return fake_defective, cycled_normal, fake_normal, cycled_defective


def _cross_entropy(logits, labels):
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])


@torch.no_grad()
def test_the_generators_objective_is_the_written_out_sum(stage):
    b = stage.phases[1].prepare(Draws(0, 0, 1, torch.device("cpu")), 0)
    (
        (fake_defective, defaced_map),
        (cycled_normal, undone_map),
        (fake_normal, restored_map),
        (cycled_defective, redone_map),
    ) = _passes(stage, b)
    critic, zeros = stage.modules["critic"], [0, 0, 0, 0]
    (defective_scores, defective_logits), (normal_scores, normal_logits) = (
        [t.numpy() for t in critic(torch.from_numpy(i))] for i in (fake_defective, fake_normal)
    )
    expected = -defective_scores.mean() - normal_scores.mean()
    expected += WEIGHTS["classification_weight"] * (
        _cross_entropy(defective_logits, b.targets.tolist()) + _cross_entropy(normal_logits, zeros)
    )
    cycle = np.abs(cycled_normal - b.normal.numpy()).mean() + np.abs(cycled_defective - b.defective.numpy()).mean()
    expected += WEIGHTS["cycle_weight"] * cycle
    expected += WEIGHTS["map_cycle_weight"] * (
        np.abs(defaced_map - undone_map).mean() + np.abs(restored_map - redone_map).mean()
    )
    expected += WEIGHTS["map_area_weight"] * sum(
        soft.mean() for soft in (defaced_map, undone_map, restored_map, redone_map)
    )
    assert float(stage.phases[1].compute(b, 0, 4).loss) == pytest.approx(float(expected), rel=1e-5)


def test_the_critics_objective_is_the_written_out_sum(stage):
    b = stage.phases[0].prepare(Draws(0, 0, 0, torch.device("cpu")), 0)
    critic, expected = stage.modules["critic"], 0.0
    with torch.no_grad():
        (fake_defective, _), _, (fake_normal, _), _ = _passes(stage, b)
    for real, fake, labels in ((b.defective, fake_defective, b.labels.tolist()), (b.normal, fake_normal, [0, 0, 0, 0])):
        scores, logits = (t.detach().numpy() for t in critic(real))
        fake = torch.from_numpy(fake)
        expected += critic(fake)[0].detach().numpy().mean() - scores.mean()
        expected += WEIGHTS["classification_weight"] * _cross_entropy(logits, labels)
        lengths = []
        for i, u in enumerate(b.uniform.tolist()):  # one image at a time: the gradient is that of each sample alone
            between = (u * real[i : i + 1] + (1 - u) * fake[i : i + 1]).requires_grad_(True)
            (gradient,) = torch.autograd.grad(critic(between)[0].mean(), between)
            lengths.append(float(gradient.norm()))
        expected += WEIGHTS["gradient_penalty_weight"] * np.mean((np.array(lengths) - 1) ** 2)
    assert float(stage.phases[0].compute(b, 0, 4).loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_labels_belong_to_their_images(stage):
    """In alphabetical order `cut` is category 1 and `hole` category 2; normal is 0, and never a target."""
    known = {
        label: torch.from_numpy(_images(seed, 3).images).permute(0, 3, 1, 2).float() / 127.5 - 1
        for label, seed in ((1, 2), (2, 1))
    }
    targets = set()
    for iteration in range(8):
        b = stage.phases[0].prepare(Draws(0, iteration, 0, torch.device("cpu")), iteration)
        targets |= set(b.targets.tolist())
        for image, label in zip(b.defective, b.labels.tolist(), strict=True):
            both = torch.cat([known[label], known[label].flip(3)])
            assert (both - image).abs().amax(dim=(1, 2, 3)).min() < 1e-6
    assert targets == {1, 2}
