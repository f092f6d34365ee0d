import numpy as np
import pytest
import torch

from defect_synth.baselines.sdgan_networks import SDGANGenerator
from defect_synth.baselines.sdgan_source import SDGANSource
from defect_synth.errors import DataError, UnknownDefectError
from defect_synth.samples import FiniteSource, pixels_to_signal, signal_to_pixels

NORMAL = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    networks = {name: SDGANGenerator(4, 1).eval().requires_grad_(False) for name in ("cut", "hole")}
    return SDGANSource("nut", networks, NORMAL, torch.device("cpu"), "digest")


def test_there_is_one_sample_for_each_normal_image(source):
    assert isinstance(source, FiniteSource)
    assert source.seeds("hole") == tuple(range(5))
    used = [sample.provenance.parameters["good_image"] for sample in source.sample("hole", source.seeds("hole"))]
    assert sorted(used) == list(range(5))
    with pytest.raises(DataError, match="one image of hole for each of 5 normal images and no seed 5"):
        source.sample("hole", [5])
    with pytest.raises(UnknownDefectError):
        source.seeds("crack")


def test_a_sample_is_the_translated_normal_image_without_a_mask(source):
    [sample] = source.sample("cut", [2])
    clean = NORMAL[int(sample.provenance.parameters["good_image"])]
    np.testing.assert_array_equal(sample.clean, clean)
    signal = pixels_to_signal(torch.from_numpy(clean).permute(2, 0, 1)[None])
    expected = signal_to_pixels(source._networks["cut"](signal))[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(sample.image, expected)
    assert not sample.mask.any()
    assert sample.provenance.parameters["mask"] == "none"
