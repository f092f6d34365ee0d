"""Defect-GAN's two objectives against the same sums written out."""

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
    """Layer and result of the four passes: deface, restore; restore, deface."""
    network, clean = stage.modules["generator"], torch.zeros(4, dtype=torch.long)

    def one(image, labels, noise):
        layer = network(image, uniform_category_map(labels, 3, 32), noise)
        soft = layer.map.numpy()
        return image.numpy() * (1 - soft) + layer.colour.numpy() * soft, soft

    fake_d = one(b.normal, b.targets, b.noise[0])
    back_n = one(torch.from_numpy(fake_d[0]), clean, b.noise[1])
    fake_n = one(b.defective, clean, b.noise[2])
    back_d = one(torch.from_numpy(fake_n[0]), b.labels, b.noise[3])
    return fake_d, back_n, fake_n, back_d


def _cross_entropy(logits, labels):
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])


@torch.no_grad()
def test_the_generators_objective_is_the_written_out_sum(stage):
    b = stage.phases[1].prepare(Draws(0, 0, 1, torch.device("cpu")), 0)
    (fake_d, map_d), (back_n, unmap_n), (fake_n, unmap_d), (back_d, map_n) = _passes(stage, b)
    critic, zeros = stage.modules["critic"], [0, 0, 0, 0]
    (score_d, name_d), (score_n, name_n) = ([t.numpy() for t in critic(torch.from_numpy(i))] for i in (fake_d, fake_n))
    expected = -score_d.mean() - score_n.mean()
    expected += WEIGHTS["classification_weight"] * (
        _cross_entropy(name_d, b.targets.tolist()) + _cross_entropy(name_n, zeros)
    )
    lost = np.abs(back_n - b.normal.numpy()).mean() + np.abs(back_d - b.defective.numpy()).mean()
    expected += WEIGHTS["cycle_weight"] * lost
    expected += WEIGHTS["map_cycle_weight"] * (np.abs(map_d - unmap_n).mean() + np.abs(unmap_d - map_n).mean())
    expected += WEIGHTS["map_area_weight"] * sum(soft.mean() for soft in (map_d, unmap_n, unmap_d, map_n))
    assert float(stage.phases[1].compute(b, 0, 4).loss) == pytest.approx(float(expected), rel=1e-5)


def test_the_critics_objective_is_the_written_out_sum(stage):
    b = stage.phases[0].prepare(Draws(0, 0, 0, torch.device("cpu")), 0)
    critic, expected = stage.modules["critic"], 0.0
    with torch.no_grad():
        (fake_d, _), _, (fake_n, _), _ = _passes(stage, b)
    for real, fake, labels in ((b.defective, fake_d, b.labels.tolist()), (b.normal, fake_n, [0, 0, 0, 0])):
        scores, names = (t.detach().numpy() for t in critic(real))
        fake = torch.from_numpy(fake)
        expected += critic(fake)[0].detach().numpy().mean() - scores.mean()
        expected += WEIGHTS["classification_weight"] * _cross_entropy(names, labels)
        lengths = []
        for i, u in enumerate(b.uniform.tolist()):  # one image at a time: no sample's gradient may reach another's
            middle = (u * real[i : i + 1] + (1 - u) * fake[i : i + 1]).requires_grad_(True)
            (gradient,) = torch.autograd.grad(critic(middle)[0].mean(), middle)
            lengths.append(float(gradient.norm()))
        expected += WEIGHTS["gradient_penalty_weight"] * np.mean((np.array(lengths) - 1) ** 2)
    assert float(stage.phases[0].compute(b, 0, 4).loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_labels_belong_to_their_images(stage):
    """Sorted, `cut` is category 1 and `hole` category 2; normal is 0 and never a target."""
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
