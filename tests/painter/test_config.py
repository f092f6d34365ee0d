"""Settings of the painter: presets, time budgets, and settings that are refused."""

from __future__ import annotations

import pytest

from defect_synth.config import override
from defect_synth.errors import ConfigError
from defect_synth.painter.config import PAINT_128, PAINT_256


def test_presets_have_the_view_side_in_their_name():
    assert (PAINT_128.model.side, PAINT_256.model.side) == (128, 256)


def test_a_time_budget_sets_the_number_of_images():
    longer = PAINT_128.for_minutes(20)

    assert longer.painter.total_kimg == pytest.approx(2 * PAINT_128.painter.total_kimg)
    assert longer.backbone.total_kimg == pytest.approx(2**0.5 * PAINT_128.backbone.total_kimg)
    assert longer == PAINT_128.for_minutes(20)
    assert PAINT_128.for_minutes(PAINT_128.minutes) == PAINT_128


def test_settings_are_changed_by_name_and_mistakes_are_named():
    assert override(PAINT_128, {"painter.batch": 12}).painter.batch == 12
    with pytest.raises(ConfigError, match=r"unknown setting 'painter\.bach'; did you mean painter\.batch\?"):
        override(PAINT_128, {"painter.bach": 8})
    with pytest.raises(ConfigError, match=r"painter\.batch"):
        override(PAINT_128, {"painter.batch": 1})


@pytest.mark.parametrize("setting", ["r1_gamma", "path_length_weight", "style_mixing_prob", "mirror", "augment.mode"])
@pytest.mark.parametrize("stage", ["backbone", "painter"])
def test_settings_that_only_a_gan_uses_are_unknown(stage, setting):
    with pytest.raises(ConfigError, match=rf"unknown setting '{stage}\.{setting}'"):
        override(PAINT_128, {f"{stage}.{setting}": 5})


@pytest.mark.parametrize("stage", ["backbone", "painter"])
def test_batches_cannot_be_divided(stage):
    with pytest.raises(ConfigError, match="does not divide its batches; leave out micro_batch"):
        override(PAINT_128, {f"{stage}.micro_batch": 8})
