from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from defect_synth.dfmgan.backbone import Backbone
from defect_synth.dfmgan.config import DiscriminatorConfig
from defect_synth.dfmgan.discriminators import build_discriminator, build_match_discriminator
from defect_synth.dfmgan.generator import DFMGAN
from tests.dfmgan.official.pickles import (
    imported,
    networks,
)


def test_stage_two_snapshot_becomes_a_dfmgan(tmp_path: Path) -> None:
    parts = networks(stage=2)
    found = imported(tmp_path, stage=2)

    assert found.stage == 2
    backbone = found.config.backbone
    assert (backbone.resolution, backbone.z_dim, backbone.w_dim, backbone.mapping_layers) == (64, 32, 32, 2)
    assert (backbone.channel_base, backbone.channel_max, backbone.conv_clamp) == (1024, 32, 256)
    assert (found.config.residual.first_resolution, found.config.residual.mask_threshold) == (16, 0.25)
    assert found.config.residual.mask_dtype == "float16"
    assert found.config.discriminator == DiscriminatorConfig(channel_base=1024, channel_max=32)
    assert found.config.match_discriminator == DiscriminatorConfig(channel_base=512, channel_max=16)
    ema = parts["G_ema"][0]
    for ours, theirs in {
        "backbone.mapping.layers.1.weight": "mapping.fc1.weight",
        "backbone.mapping.w_avg": "mapping.w_avg",
        "backbone.synthesis.blocks.4.const": "synthesis.b4.const",
        "backbone.synthesis.blocks.8.up.affine.bias": "synthesis.b8.conv0.affine.bias",
        "backbone.synthesis.blocks.64.conv.noise_const": "synthesis.b64.conv1.noise_const",
        "backbone.synthesis.blocks.4.to_rgb.weight": "synthesis.b4.torgb.weight",
        "defect_mapping.layers.0.bias": "defect_mapping.fc0.bias",
        "defect_mapping.w_avg": "defect_mapping.w_avg",
        "residual.blocks.16.up.weight": "synthesis.res_b16.conv0.weight",
        "residual.blocks.64.conv.noise_strength": "synthesis.res_b64.conv1.noise_strength",
        "residual.to_mask.weight": "synthesis.res_b16.torgb.weight",
    }.items():
        assert torch.equal(found.generator_ema[ours], ema[theirs]), ours
        assert not torch.equal(found.generator[ours], ema[theirs]), "G is not G_ema"
    D = parts["D"][0]
    for ours, theirs in {
        "from_rgb.weight": "b64.fromrgb.weight",
        "blocks.64.conv.weight": "b64.conv0.weight",
        "blocks.8.down.bias": "b8.conv1.bias",
        "blocks.16.skip.weight": "b16.skip.weight",
        "epilogue.conv.weight": "b4.conv.weight",
        "epilogue.fc.bias": "b4.fc.bias",
        "epilogue.out.weight": "b4.out.weight",
    }.items():
        assert torch.equal(found.discriminator[ours], D[theirs]), ours
    assert found.match_discriminator["from_rgb.weight"].shape == (8, 4, 1, 1)


def test_stage_one_snapshot_becomes_a_backbone(tmp_path: Path) -> None:
    found = imported(tmp_path, stage=1)

    assert found.stage == 1
    assert found.match_discriminator is None
    assert found.config.residual.mask_dtype == "float32"
    assert found.config.residual.first_resolution == 16
    assert {name.split(".")[0] for name in found.generator_ema} == {"mapping", "synthesis"}


def test_grey_snapshot_has_one_image_channel(tmp_path: Path) -> None:
    found = imported(tmp_path, stage=1, channels=1)

    assert found.config.backbone.image_channels == 1
    assert found.generator_ema["synthesis.blocks.64.to_rgb.weight"].shape == (1, 16, 1, 1)


def test_stage_two_without_match_discriminator_is_read(tmp_path: Path) -> None:
    def change(parts: dict[str, Any]) -> None:
        del parts["D_match"]
        for name in ("G", "G_ema"):
            parts[name][1]["transfer"] = "res_block"

    found = imported(tmp_path, change, stage=2)

    assert (found.stage, found.match_discriminator) == (2, None)


@pytest.mark.parametrize("stage", [1, 2])
def test_imported_weights_load_into_our_networks(tmp_path: Path, stage: int) -> None:
    found = imported(tmp_path, stage=stage)
    generator = DFMGAN(found.config) if stage == 2 else Backbone(found.config.backbone)

    generator.load_state_dict(found.generator_ema, strict=True)
    build_discriminator(found.config).load_state_dict(found.discriminator, strict=True)
    if stage == 2:
        build_match_discriminator(found.config).load_state_dict(found.match_discriminator, strict=True)

    assert all(torch.equal(tensor, found.generator_ema[name]) for name, tensor in generator.state_dict().items())
