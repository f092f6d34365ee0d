from __future__ import annotations

import pytest
import torch

from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.checkpoint import DFMGANCard, build_generator
from defect_synth.dfmgan.config import TINY
from defect_synth.dfmgan.generator import DFMGAN
from defect_synth.engine.checkpoint import load_checkpoint, save_checkpoint


@pytest.mark.parametrize(("kind", "network"), [("dfmgan", DFMGAN), ("backbone", Backbone)])
def test_a_generator_comes_back_ready_to_generate_and_leaves_the_random_state_alone(kind, network, tmp_path):
    torch.manual_seed(3)
    before = network(TINY.model if kind == "dfmgan" else TINY.model.backbone)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, DFMGANCard(kind=kind, model=TINY.model, category="nut"), before.state_dict())
    state = torch.get_rng_state()

    after = build_generator(load_checkpoint(path, DFMGANCard, kind))

    assert torch.get_rng_state().equal(state)
    assert isinstance(after, network)
    assert not after.training
    assert not any(p.requires_grad for p in after.parameters())
    assert all(after.state_dict()[name].equal(tensor) for name, tensor in before.state_dict().items())
