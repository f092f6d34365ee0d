from __future__ import annotations

import pytest

from defect_synth.config import override
from defect_synth.dfmgan.config import FAST_64, FAST_128, PAPER_256, TINY
from defect_synth.dfmgan.memory import largest_micro_batches, memory_needed
from defect_synth.errors import ConfigError


def wide(config):
    """With the channels that the measured networks had: twice those of the presets."""
    networks = ("backbone", "discriminator", "match_discriminator")
    return override(
        config,
        {
            f"model.{network}.{field}": 2 * getattr(getattr(config.model, network), field)
            for network in networks
            for field in ("channel_base", "channel_max")
        },
    )


# Peak resident memory in GiB of two whole iterations, measured 2026-11-23 (float32, one thread).
@pytest.mark.parametrize(
    ("config", "stage", "size", "measured"),
    [
        (FAST_64, "pretrain", 4, 0.69), (FAST_64, "pretrain", 8, 0.85), (FAST_64, "transfer", 8, 0.98),
        (FAST_128, "pretrain", 4, 1.23), (FAST_128, "transfer", 4, 1.44), (FAST_128, "transfer", 8, 2.30),
    ],
)  # fmt: skip
def test_the_estimate_is_near_what_was_measured_and_rarely_below(config, stage, size, measured):
    assert 0.97 * measured <= memory_needed(wide(config), stage, size) <= 1.25 * measured


def test_the_largest_micro_batches_that_fit_are_chosen_in_whole_groups():
    # Never more than the default, so that the losses stay the same.
    assert largest_micro_batches(PAPER_256, 1000) == {"pretrain": 16, "transfer": 16}
    small = largest_micro_batches(PAPER_256, 7)
    assert small == {"pretrain": 4, "transfer": 4}
    assert all(
        memory_needed(PAPER_256, stage, size) <= 7 < memory_needed(PAPER_256, stage, 2 * size)
        for stage, size in small.items()
    )


def test_processes_get_micro_batches_that_they_can_share():
    assert largest_micro_batches(PAPER_256, 1000, processes=8) == {"pretrain": 4, "transfer": 4}
    with pytest.raises(ConfigError, match=r"pretrain\.batch 8 cannot be shared evenly by 3 processes"):
        largest_micro_batches(TINY, 1000, processes=3)


def test_too_little_memory_says_how_much_is_needed():
    with pytest.raises(
        ConfigError, match=r"--max-memory 0.2 is too little: pretrain needs about 0\.\d GiB even with 4"
    ):
        largest_micro_batches(TINY, 0.2)


def test_a_micro_batch_that_was_set_is_an_upper_bound():
    assert largest_micro_batches(override(PAPER_256, {"pretrain.micro_batch": 8}), 1000)["pretrain"] == 8
