from __future__ import annotations

import pytest

from defect_synth.config import override, validated
from defect_synth.dfmgan.config import (
    PAPER_256,
    TINY,
    TrainConfig,
)
from defect_synth.errors import ConfigError


def test_override_changes_what_was_named_and_nothing_else():
    changed = override(PAPER_256, {"pretrain.batch": 8, "model.residual.first_resolution": 32})
    assert (changed.pretrain.batch, changed.model.residual.first_resolution) == (8, 32)
    assert override(changed, {"pretrain.batch": 32, "model.residual.first_resolution": 64}) == PAPER_256
    assert PAPER_256.pretrain.batch == 32  # a configuration is a value


def test_an_override_is_checked_together_with_all_other_settings():
    assert override(PAPER_256, {"model.backbone.resolution": 64}).model.residual_resolutions == (64,)
    with pytest.raises(ConfigError, match=r"first_resolution 64 is above backbone\.resolution 32; use 8"):
        override(PAPER_256, {"model.backbone.resolution": 32})


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("pretrain.nope", "pretrain has total_kimg, batch"),
        ("pretrain.batches", "did you mean pretrain.batch?"),
        ("nope.batch", "did you mean pretrain.batch or transfer.batch?"),
        ("pretrain.batch.size", "did you mean "),
        ("learning_rate", "did you mean pretrain.learning_rate or transfer.learning_rate?"),
        ("model.backbone.reslution", "did you mean model.backbone.resolution?"),
        ("", "the top level has preset, model"),
    ],
)
def test_an_unknown_setting_is_named_with_the_nearest_that_are_known(name, advice):
    with pytest.raises(ConfigError) as error:
        override(PAPER_256, {name: 1})
    assert str(error.value).startswith(f"unknown setting {name!r}; ")
    assert advice in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("model.backbone.resolution", 200, "power of two"),
        ("model.backbone.resolution", 16, "32"),
        ("model.backbone.resolution", 2048, "1024"),
        ("model.residual.first_resolution", 48, "power of two"),
        ("pretrain.batch", 1, "2"),
        ("pretrain.batch", "many", "integer"),
        ("pretrain.learning_rate", 2.0, "1"),
        ("transfer.total_kimg", 0, "0"),
        ("transfer.augment.max_p", 1.5, "1"),
        ("precision", "float8", "bfloat16"),
        ("seed", -1, "0"),
        ("validation_fraction", 1.0, "1"),
    ],
)
def test_a_value_out_of_bounds_is_told_with_field_value_and_bound_in_one_line(name, value, bound):
    with pytest.raises(ConfigError) as error:
        override(PAPER_256, {name: value})
    message = str(error.value)
    assert message.startswith(f"{name}: ")
    assert str(value) in message
    assert bound in message
    assert "\n" not in message


def test_json_with_a_field_of_another_version_is_refused():
    values = {**TINY.model_dump(), "colour": 1}
    with pytest.raises(ConfigError, match="colour"):
        validated(TrainConfig, values)


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(Exception, match="frozen"):
        TINY.seed = 3
