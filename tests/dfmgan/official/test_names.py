from __future__ import annotations

from pathlib import Path

import pytest
import torch

from defect_synth.dfmgan.official import (
    to_official_discriminator,
    to_official_generator,
    to_ours_discriminator,
    to_ours_generator,
)
from defect_synth.errors import CheckpointError, DefectSynthError
from tests.dfmgan.official.pickles import (
    binomial,
    imported,
    networks,
    same,
)

FIXTURES = Path(__file__).parents[4] / "shared" / "fixtures" / "tiny64"


@pytest.mark.parametrize("stage", [1, 2])
def test_names_round_trip_with_their_filters(tmp_path: Path, stage: int) -> None:
    found = imported(tmp_path, stage=stage)
    parts = networks(stage=stage)

    assert same(to_official_generator(found.generator, found.config), parts["G"][0])
    assert same(to_official_discriminator(found.discriminator), parts["D"][0])
    if stage == 2:
        assert same(to_official_discriminator(found.match_discriminator), parts["D_match"][0])
    assert same(to_ours_discriminator(to_official_discriminator(found.discriminator)), found.discriminator)
    again = to_ours_generator(to_official_generator(found.generator_ema, found.config), found.config)
    assert same(again, found.generator_ema)


def test_the_dropped_filter_sums_to_one() -> None:
    assert binomial().sum() == 1
    state = {"b8.conv0.weight": torch.zeros(1, 1, 3, 3), "b8.resample_filter": binomial()}

    assert to_ours_discriminator(state).keys() == {"blocks.8.conv.weight"}
    with pytest.raises(CheckpointError, match="the only one supported"):
        to_ours_discriminator(state | {"b8.resample_filter": binomial() * 4})


def test_unknown_names_of_ours_are_refused() -> None:
    with pytest.raises(DefectSynthError, match="belongs to no"):
        to_official_discriminator({"blocks.8.gate.weight": torch.zeros(1)})


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the arrays of the authors' networks are not beside the repository")
@pytest.mark.parametrize("stage", [1, 2])
def test_look_alikes_have_the_names_and_shapes_of_the_authors_networks(stage: int) -> None:
    from safetensors import safe_open

    with safe_open(FIXTURES / f"stage{stage}.safetensors", "pt") as file:
        genuine = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    ours = {
        f"{network}.{name}": tuple(tensor.shape)
        for network, (tensors, _) in networks(stage=stage).items()
        for name, tensor in tensors.items()
    }
    assert ours == genuine
