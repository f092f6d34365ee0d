"""Parts of the painter's stages."""

from __future__ import annotations

import pytest
import torch

from defect_synth.errors import CheckpointError
from defect_synth.painter.config import PAINT_TINY, PainterModelConfig
from defect_synth.painter.network import ImageBackbone
from defect_synth.painter.stages import PainterStage, _decay, _relit
from defect_synth.painter.training_set import PainterTrainingSet
from defect_synth.product.arrangement import Arrangement
from defect_synth.product.symmetry import Symmetry


def test_relighting_changes_brightness_and_not_structure(rng):
    view = torch.rand(3, 3, 8, 8, generator=rng)

    lit = _relit(view, torch.rand(3, 3, generator=rng))
    same = _relit(view, torch.full((3, 3), 0.5))

    torch.testing.assert_close(same, view)
    for a, b in zip(view, lit, strict=True):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.97


def test_learning_rates_fall_to_a_tenth_in_the_last_third():
    config = PAINT_TINY.painter.model_copy(update={"total_kimg": 0.3, "batch": 4})
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=1.0)
    rates = []
    for iteration in (0, 49, 62, 75):
        _decay(optimizer, config, 0.02, iteration)
        rates.append(optimizer.param_groups[0]["lr"])

    assert rates[:2] == [0.02, 0.02]
    assert 0.01 < rates[2] < 0.013
    assert rates[3] == pytest.approx(0.002)


def test_a_backbone_of_other_sizes_is_refused(nut_images, tmp_path):
    training_set = PainterTrainingSet.of("nut", *nut_images, Arrangement(Symmetry(), None), PAINT_TINY)
    with torch.random.fork_rng(devices=[]):
        other = ImageBackbone(PainterModelConfig(side=32, channels=(16, 32, 16, 16, 16))).state_dict()
        with pytest.raises(CheckpointError, match="another architecture"):
            PainterStage(training_set, other, tmp_path / "model.safetensors", None)
