"""SDGAN and Defect-GAN: their terms, their training, their samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from defect_synth.baselines.defect_gan import DefectGAN
from defect_synth.baselines.defect_gan_networks import (
    DefectGANDiscriminator,
    DefectGANGenerator,
    DefectLayer,
    uniform_category_map,
)
from defect_synth.baselines.defect_gan_source import UNCHANGED_BELOW, DefectGANSource
from defect_synth.baselines.sdgan import SDGAN
from defect_synth.baselines.sdgan_networks import SDGANGenerator
from defect_synth.baselines.train import open_system, settings_of, train_system
from defect_synth.baselines.translation_losses import (
    classification,
    gradient_penalty,
    interpolate,
    l1,
    least_squares_fake,
    least_squares_real,
    wasserstein,
)
from defect_synth.baselines.translation_networks import PatchDiscriminator
from defect_synth.data.layouts import index
from defect_synth.data.partitions import everything
from defect_synth.errors import CheckpointError, DataError, UnknownDefectError
from tests.fake_data import write_mvtec

SHORT = {"total_kimg": 0.024, "snapshot_kimg": 0.016}
SYSTEMS = {
    "sdgan": SDGAN(resolution=32, channels=4, blocks=1, stage=SDGAN().stage.model_copy(update=SHORT)),
    "defect-gan": DefectGAN(
        resolution=32, channels=4, blocks=1, critic_steps=2, stage=DefectGAN().stage.model_copy(update=SHORT)
    ),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return index(write_mvtec(tmp_path_factory.mktemp("data"), defects={"cut": 3, "hole": 3}, good=5, size=32))


@pytest.fixture(scope="module")
def runs(table, tmp_path_factory):
    made = {}
    for name, system in SYSTEMS.items():
        made[name] = tmp_path_factory.mktemp(name) / "run"
        train_system(system, table, everything(table, 0.0, 0), made[name])
    return made


class KilledError(Exception):
    pass


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_killed_run_resumes_to_the_same_bytes(name, runs, table, tmp_path):
    def die(progress):
        if progress.stage in ("hole", "defect-gan") and progress.done_kimg >= 0.020:
            raise KilledError

    part, run = everything(table, 0.0, 0), tmp_path / "run"
    with pytest.raises(KilledError):
        train_system(SYSTEMS[name], table, part, run, report=die)
    train_system(SYSTEMS[name], table, part, run, resume=True)
    files = sorted(path.relative_to(run) for path in run.rglob("*.safetensors"))
    assert len(files) == (4 if name == "sdgan" else 2)
    for file in files:
        assert (run / file).read_bytes() == (runs[name] / file).read_bytes()


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_depend_on_their_seed_alone(name, runs):
    source = open_system(runs[name])
    assert (source.category, source.defects, source.resolution) == ("nut", ("cut", "hole"), 32)
    for seed, sample in zip([3, 0, 4], source.sample("hole", [3, 0, 4]), strict=True):
        alone = open_system(runs[name]).sample("hole", [seed])[0]
        np.testing.assert_array_equal(sample.image, alone.image)
        np.testing.assert_array_equal(sample.mask, alone.mask)
        assert sample.provenance.parameters["mask"] == ("none" if name == "sdgan" else "weak")
    with pytest.raises(UnknownDefectError, match="crack"):
        source.sample("crack", [0])


def test_sdgan_has_one_image_for_each_good_one(runs):
    source = open_system(runs["sdgan"])
    assert source.seeds("hole") == tuple(range(5))
    used = [sample.provenance.parameters["good_image"] for sample in source.sample("hole", source.seeds("hole"))]
    assert sorted(used) == list(range(5))
    with pytest.raises(DataError, match="no seed 5"):
        source.sample("hole", [5])


@pytest.mark.parametrize("name", SYSTEMS)
def test_given_good_images_are_the_ones_that_are_changed(name, runs):
    good = np.full((1, 32, 32, 3), 90, np.uint8)
    sample = open_system(runs[name], normal=good).sample("cut", [0])[0]
    np.testing.assert_array_equal(sample.clean, good[0])
    with pytest.raises(DataError, match="at least one normal image"):
        open_system(runs[name], normal=good[:0])


def test_a_run_whose_defects_are_missing_is_named(runs, tmp_path):
    (tmp_path / "run.json").write_text((runs["sdgan"] / "run.json").read_text())
    (tmp_path / "partition.json").write_text((runs["sdgan"] / "partition.json").read_text())
    with pytest.raises(CheckpointError, match="no checkpoint"):
        open_system(tmp_path)


def test_pixels_outside_the_soft_map_are_those_of_the_good_image():
    class Half(DefectGANGenerator):
        def forward(self, image, category_map, noise):
            soft = torch.zeros(1, 1, 32, 32)
            soft[..., :8], soft[..., 8:16], soft[..., 16:20] = 1.0, 0.3, UNCHANGED_BELOW / 2
            return DefectLayer(torch.ones_like(image), soft)

    good = np.random.default_rng(0).integers(0, 200, (1, 32, 32, 3), dtype=np.uint8)
    source = DefectGANSource("nut", ("hole",), Half(32, 2, 4, 1), good, 0.25, torch.device("cpu"), "digest")
    sample = source.sample("hole", [0])[0]
    np.testing.assert_array_equal(sample.image[:, 16:], good[0][:, 16:])
    assert (sample.image[:, :8] == 255).all()
    expected = good[0][:, 8:16] + 0.3 * (255.0 - good[0][:, 8:16])
    assert np.abs(sample.image[:, 8:16] - expected).max() <= 1
    np.testing.assert_array_equal(sample.mask, np.repeat((np.arange(32) < 16)[None], 32, 0))


def test_composition_is_exact_at_both_ends(rng):
    image, colour = torch.rand(2, 1, 3, 4, 4, generator=rng)
    soft = (torch.rand(1, 1, 4, 4, generator=rng) > 0.5).float()
    out = DefectLayer(colour, soft).composed(image)
    torch.testing.assert_close(out, torch.where(soft > 0, colour, image))
    assert torch.equal(DefectLayer(colour, torch.zeros_like(soft)).composed(image), image)


def test_least_squares_terms_have_their_literal_values():
    scores = torch.tensor([0.0, 1.0, 3.0])
    assert least_squares_real(scores) == pytest.approx((1 + 0 + 4) / 3)
    assert least_squares_fake(scores) == pytest.approx((0 + 1 + 9) / 3)
    assert l1(torch.tensor([1.0, -2.0]), torch.tensor([0.0, 2.0])) == pytest.approx(2.5)


def test_critic_terms_have_their_literal_values():
    assert wasserstein(torch.tensor([1.0, 3.0]), torch.tensor([5.0])) == -3
    real, fake = torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    assert interpolate(real, fake, torch.tensor([0.25, 1.0])).flatten().tolist() == [0.25, 1.0]
    # The score 3 a + 4 b of two pixels has a gradient of length 5 everywhere: (5 - 1)^2.
    image = torch.rand(2, 1, 1, 2).requires_grad_(True)
    scores = (image * torch.tensor([3.0, 4.0])).sum((1, 2, 3))[:, None]
    assert float(gradient_penalty(scores, image)) == pytest.approx(16, rel=1e-5)
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert float(classification(logits, torch.tensor([0]))) == pytest.approx(math.log(4))


def test_every_network_gets_a_gradient_from_its_phase(table):
    for system in SYSTEMS.values():
        from defect_synth.baselines.train import load_training_set
        from defect_synth.engine.draws import Draws

        training = load_training_set(table, everything(table, 0.0, 0), ["cut", "hole"], system.resolution)
        stage = system.steps(training, table.root, torch.device("cpu"))[0].build()
        for number, phase in enumerate(stage.phases):
            context = phase.prepare(Draws(0, 0, number, torch.device("cpu")), 0)
            phase.compute(context, 0, 4).loss.backward()
            silent = [name for name, p in phase.module.named_parameters() if p.grad is None]
            assert not silent, (system.method, phase.name, silent)
            for module in stage.modules.values():
                module.zero_grad(set_to_none=True)


def test_the_category_and_the_noise_reach_the_layer(rng):
    torch.manual_seed(0)
    network = DefectGANGenerator(32, 3, 4, 1)
    with torch.no_grad():
        network.first.noise_strength.fill_(1.0)
    image, noise = torch.rand(1, 3, 32, 32, generator=rng), torch.randn(2, 1, network.noise_numel, generator=rng)
    network.requires_grad_(False)
    maps = [uniform_category_map(torch.tensor([label]), 3, 32) for label in (1, 2)]
    first = network(image, maps[0], noise[0])
    assert not torch.equal(first.colour, network(image, maps[1], noise[0]).colour)
    assert not torch.equal(first.colour, network(image, maps[0], noise[1]).colour)
    assert 0 <= float(first.map.min()) <= float(first.map.max()) <= 1


@pytest.mark.parametrize("side", [32, 64])
def test_networks_keep_the_image_size(side, rng):
    image = torch.randn(2, 3, side, side, generator=rng)
    assert SDGANGenerator(4, 1)(image).shape == image.shape
    assert PatchDiscriminator(4)(image).shape[:2] == (2, 1)
    scores, names = DefectGANDiscriminator(3, 4)(image)
    assert (scores.shape[0], names.shape) == (2, (2, 3))


def test_presets():
    paper = settings_of("sdgan", "paper")
    assert (paper.resolution, paper.channels, paper.blocks, paper.cycle_weight) == (256, 64, 9, 10)
    assert (paper.stage.learning_rate, paper.stage.batch) == (2e-4, 2)
    paper = settings_of("defect-gan", "paper", resolution=128, seed=2)
    assert (paper.resolution, paper.seed, paper.critic_steps, paper.blocks) == (128, 2, 5, 6)
