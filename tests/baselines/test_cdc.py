"""The adaptation of CDC to one defect: what its batches hold, and its two objectives written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from defect_synth.baselines.cdc import CDC
from defect_synth.baselines.cdc_losses import distance_consistency
from defect_synth.baselines.system import TrainingSet
from defect_synth.config import override
from defect_synth.data.store import ImageArrays
from defect_synth.dfmgan.config import TINY
from defect_synth.engine.draws import Draws
from defect_synth.engine.loop import run

CPU = torch.device("cpu")
ONE_ITERATION = {"pretrain.total_kimg": 0.008, "pretrain.snapshot_kimg": 0.008}


def _images(seed, count):
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImageArrays(pixels, np.zeros((count, 32, 32), np.uint8), tuple(map(str, range(count))))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    settings = CDC(config=override(TINY, ONE_ITERATION), consistency=30.0, anchor_std=0.01)
    backbone, adaptation = settings.steps(TrainingSet("nut", _images(0, 5), {"hole": _images(1, 3)}), folder, CPU)
    assert (backbone.name, backbone.basis, adaptation.name, adaptation.basis) == ("backbone", True, "hole", False)
    run(backbone.build(), folder / backbone.folder, resume=False)
    return adaptation.build()


def test_every_fourth_batch_has_codes_near_anchors_and_scores_whole_images(stage):
    for iteration in range(16):
        batch = stage.batch(Draws(0, iteration, 0, CPU), iteration)
        nearest = torch.cdist(batch.latents.z_object, stage.anchors).amin(dim=1)
        assert (batch.side is None) == (iteration % 4 == 0)
        assert batch.side in (None, *stage.cdc_discriminator.sides)
        assert batch.resolution in stage.model.backbone.block_resolutions
        assert (nearest < 0.2).all() if batch.side is None else (nearest > 1).all()
    assert len(stage.anchors) == 3  # one for each defect image


@pytest.mark.parametrize("iteration", [0, 1])
def test_the_generators_objective_is_the_written_out_sum(stage, iteration):
    batch = stage.batch(Draws(0, iteration, 0, CPU), iteration)
    with torch.no_grad():
        for parameter in stage.backbone.parameters():
            parameter.add_(0.01)  # away from the source, where the consistency is zero
        outcome = stage.generator_adaptation(batch, 0, 8)
        features = []
        for network in (stage.source, stage.backbone):
            rows = network.rows(batch.latents.z_object)
            features.append(network.trunk(rows, batch.latents.noise_object, below=2 * batch.resolution).features)
        image = stage.backbone(rows, batch.latents.noise_object)
        expected = F.softplus(-stage.logits(image, batch.side)).mean() + 30.0 * distance_consistency(*features)
    assert float(distance_consistency(*features)) > 0
    assert float(outcome.loss) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("iteration", [0, 1])
@torch.no_grad()
def test_the_discriminators_objective_is_the_written_out_sum(stage, iteration):
    batch = stage.batch(Draws(0, iteration, 2, CPU), iteration)
    fake = stage.backbone(stage.backbone.rows(batch.latents.z_object), batch.latents.noise_object)
    fake_logits, real_logits = stage.logits(fake, batch.side), stage.logits(batch.real, batch.side)
    expected = F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()
    outcome = stage.discriminator_adaptation(batch, 0, 8)
    assert float(outcome.loss) == pytest.approx(float(expected), rel=1e-4)
    assert float(outcome.terms["real_sign"]) == pytest.approx(float(real_logits.sign().mean()))


def test_there_is_no_augmentation(stage):
    assert stage.ada is None
    assert stage.logged_controls() == {}
    image = torch.zeros(2, 3, 32, 32)
    assert stage.images.part(stage.images.augmentation(Draws(0, 0, 0, CPU), 24), 0, 2)(image) is image
