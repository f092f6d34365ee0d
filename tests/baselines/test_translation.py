"""What the stages of SDGAN and Defect-GAN have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.baselines.defect_gan import DefectGAN
from defect_synth.baselines.sdgan import SDGAN
from defect_synth.baselines.sdgan_networks import SDGANGenerator
from defect_synth.baselines.system import TrainingSet
from defect_synth.baselines.translation import TranslationCard, load_generator
from defect_synth.data.store import ImageArrays
from defect_synth.engine.checkpoint import TrainingCard, load_checkpoint, save_checkpoint
from defect_synth.engine.draws import Draws
from defect_synth.errors import CheckpointError

CPU = torch.device("cpu")
SYSTEMS = [SDGAN(resolution=32, channels=4, blocks=1), DefectGAN(resolution=32, channels=4, blocks=1)]


def _images(seed, count):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImageArrays(pixels, np.zeros((count, 32, 32), np.uint8), tuple(map(str, range(count))))


TRAINING = TrainingSet("nut", _images(0, 5), {"hole": _images(1, 3), "cut": _images(2, 3)})


@pytest.fixture(params=SYSTEMS, ids=lambda system: system.method)
def stage(request, tmp_path):
    return request.param.steps(TRAINING, tmp_path, CPU)[0].build()


def test_every_network_gets_a_gradient_from_its_phase(stage):
    for number, phase in enumerate(stage.phases):
        batch = phase.prepare(Draws(0, 0, number, CPU), 0)
        phase.compute(batch, 0, 4).loss.backward()
        silent = [name for name, p in phase.module.named_parameters() if p.grad is None]
        assert not silent, (stage.name, phase.name, silent)
        for module in stage.modules.values():
            module.zero_grad(set_to_none=True)


def test_the_exported_file_says_what_it_makes_and_how_large_it_is(stage, tmp_path):
    stage.export(tmp_path / "model.safetensors", 0.5, None)
    checkpoint = load_checkpoint(tmp_path / "model.safetensors", TranslationCard)
    card = checkpoint.card
    assert (card.kind, card.method, card.category, card.trained_kimg) == ("translation", stage.card.method, "nut", 0.5)
    assert card.defects == (("hole",) if card.method == "sdgan" else ("cut", "hole"))
    assert card.num_images == (3 if card.method == "sdgan" else 6)
    sizes = {"resolution": 32, "channels": 4, "blocks": 1}
    assert card.networks == (sizes if card.method == "sdgan" else {**sizes, "categories": 3})
    assert "total_kimg" not in card.training["stage"]  # a longer schedule may continue a run
    assert set(checkpoint.tensors) == set(stage.modules["average"].state_dict())


def test_a_file_of_something_else_is_named(tmp_path):
    network, path = SDGANGenerator(4, 1), tmp_path / "model.safetensors"
    save_checkpoint(path, TrainingCard(method="sdgan", category="nut"), network.state_dict())
    with pytest.raises(CheckpointError, match="holds a training checkpoint, but a translation one is needed"):
        load_generator(path, lambda: SDGANGenerator(4, 1))
    card = TranslationCard(method="sdgan", category="nut", defects=("hole",), networks={})
    save_checkpoint(path, card, SDGANGenerator(8, 1).state_dict())
    with pytest.raises(CheckpointError, match="another architecture"):
        load_generator(path, lambda: SDGANGenerator(4, 1))
