from __future__ import annotations

import pytest

from defect_synth.config import override
from defect_synth.dfmgan.config import (
    CORRECTED,
    FAST_64,
    OFFICIAL,
    PAPER_256,
    PRESETS,
    TINY,
    TrainConfig,
    with_protocol,
)
from defect_synth.errors import ConfigError


def test_by_default_a_batch_has_two_parts_in_whole_groups_so_that_two_processes_can_share_it():
    assert {name: config.micro_batch("pretrain") for name, config in PRESETS.items()} == {
        "PAPER_256": 16, "FAST_128": 8, "FAST_64": 8, "TINY": 4,
    }  # fmt: skip
    assert TINY.micro_batches("transfer") == (4, 8)
    assert override(TINY, {"pretrain.micro_batch": 2}).micro_batch("pretrain") == 2
    assert override(TINY, {"pretrain.batch": 12}).micro_batches("pretrain") == (4, 12)
    assert override(TINY, {"pretrain.batch": 12}).micro_batch("pretrain") == 12  # half would cut a group of 4


def test_without_mode_seeking_an_odd_batch_is_fine():
    odd = {"transfer.batch": 7, "transfer.lambda_mode_seeking": 0, "model.discriminator.minibatch_std_group": 1,
           "model.match_discriminator.minibatch_std_group": 7}  # fmt: skip
    assert override(PAPER_256, odd).transfer.batch == 7


def test_the_official_protocol_switches_every_correction_off_and_can_be_undone():
    official = with_protocol(FAST_64, "official")
    assert official.transfer.protocol == OFFICIAL
    assert official.model.residual.mask_dtype == "float16"
    assert with_protocol(official, "corrected") == FAST_64
    assert FAST_64.transfer.protocol == CORRECTED


def test_the_derived_sizes_of_the_paper_are_right():
    model = PAPER_256.model
    assert model.backbone.block_resolutions == (4, 8, 16, 32, 64, 128, 256)
    assert [model.backbone.channels(r) for r in model.backbone.block_resolutions] == [512, 512, 512, 512, 256, 128, 64]
    assert model.backbone.num_ws == 14
    assert model.residual_resolutions == (64, 128, 256)
    assert model.num_defect_ws == 7


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_valid_bears_its_name_and_survives_json(name):
    config = PRESETS[name]
    assert config.preset == name
    assert override(config, {}) == config
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transfer.batch": 7}, "batch 7 is odd"),
        ({"pretrain.micro_batch": 5}, "micro_batch 5 does not divide batch 32"),
        ({"pretrain.batch": 30}, "batch 30 is not a multiple of minibatch_std_group 4; use 28"),
        ({"model.backbone.channel_base": 64}, "use channel_base >= 256"),
        ({"model.match_discriminator.channel_base": 128}, r"match_discriminator\.channel_base must be >= .* 256"),
        ({"model.residual.first_resolution": 512}, "first_resolution 512 is above"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        override(PAPER_256, settings)
