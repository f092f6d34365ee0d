"""The objectives of SDGAN against the same sums written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.baselines.sdgan import SDGAN
from defect_synth.baselines.system import TrainingSet
from defect_synth.data.store import ImageArrays
from defect_synth.engine.draws import Draws

WEIGHTS = {"cycle_weight": 7.0, "identity_weight": 3.0, "cycle_adversarial_weight": 0.25}


def _images(seed, count):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImageArrays(pixels, np.zeros((count, 32, 32), np.uint8), tuple(map(str, range(count))))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    system = SDGAN(resolution=32, channels=4, blocks=1, **WEIGHTS)
    training = TrainingSet("nut", _images(0, 5), {"hole": _images(1, 3)})
    return system.steps(training, tmp_path_factory.mktemp("run"), torch.device("cpu"))[0].build()


def _passes(stage, batch):
    """Training, translated, cycled and identity images, as (defect, normal) pairs."""
    to_defect, to_normal = (stage.modules["generators"][name] for name in ("defect", "normal"))
    normal, defect = batch
    fake = (to_defect(normal), to_normal(defect))
    cycled = (to_defect(fake[1]), to_normal(fake[0]))
    return (defect, normal), fake, cycled, (to_defect(defect), to_normal(normal))


def _scores(stage, images):
    return [
        stage.modules["discriminators"][name](i).numpy() for name, i in zip(("defect", "normal"), images, strict=True)
    ]


@torch.no_grad()
def test_the_generators_objective_is_the_written_out_sum(stage):
    batch = stage.phases[0].prepare(Draws(0, 0, 0, torch.device("cpu")), 0)
    real, fake, cycled, identity = _passes(stage, batch)
    expected = 0.0
    for scores, weight in ((_scores(stage, fake), 1.0), (_scores(stage, cycled), WEIGHTS["cycle_adversarial_weight"])):
        expected += weight * sum(np.mean((s - 1) ** 2) for s in scores)
    for made, weight in ((cycled, WEIGHTS["cycle_weight"]), (identity, WEIGHTS["identity_weight"])):
        expected += weight * sum(np.abs((m - r).numpy()).mean() for m, r in zip(made, real, strict=True))
    assert float(stage.phases[0].compute(batch, 0, 4).loss) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_the_discriminators_objective_is_the_written_out_sum(stage):
    batch = stage.phases[1].prepare(Draws(0, 0, 1, torch.device("cpu")), 0)
    real, fake, cycled, _ = _passes(stage, batch)
    expected = sum(np.mean((s - 1) ** 2) for s in _scores(stage, real))
    expected += sum(np.mean(s**2) for s in _scores(stage, fake))
    expected += WEIGHTS["cycle_adversarial_weight"] * sum(np.mean(s**2) for s in _scores(stage, cycled))
    assert float(stage.phases[1].compute(batch, 0, 4).loss) == pytest.approx(float(expected) / 2, rel=1e-5)


def test_each_domain_has_its_own_training_images(stage):
    """Each domain draws from its own training images, 5 normal and 3 defect images without a pixel row in common."""
    normal, defect = stage.phases[0].prepare(Draws(0, 3, 0, torch.device("cpu")), 3)
    for images, seed, count in ((normal, 0, 5), (defect, 1, 3)):
        known = torch.from_numpy(_images(seed, count).images).permute(0, 3, 1, 2).float() / 127.5 - 1
        both = torch.cat([known, known.flip(3)])
        assert all((both - image).abs().amax(dim=(1, 2, 3)).min() < 1e-6 for image in images)
