import numpy as np
import pytest

from defect_synth.baselines.cutout import Cutout
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.samples import DefectSource

NORMAL = np.random.default_rng(0).integers(1, 256, (3, 64, 48, 3), dtype=np.uint8)


def test_one_square_of_one_colour_with_its_exact_mask():
    source = Cutout("nut", NORMAL)
    assert isinstance(source, DefectSource)
    assert (source.category, source.defects) == ("nut", ("defect",))
    for sample in source.sample("defect", range(40)):
        drawn = sample.provenance.parameters
        top, left, side = (int(drawn[name]) for name in ("top", "left", "side"))
        square = np.zeros((64, 48), np.uint8)
        square[top : top + side, left : left + side] = 1
        assert square.sum() == side**2  # wholly inside
        assert np.array_equal(sample.mask, square)
        assert not sample.image[square == 1].any()
        assert np.array_equal(sample.clean, NORMAL[int(drawn["good_image"])])
        assert np.array_equal(sample.image[square == 0], sample.clean[square == 0])


def test_sides_span_a_tenth_to_a_half_of_the_image():
    sides = [int(s.provenance.parameters["side"]) for s in Cutout("nut", NORMAL).sample("defect", range(300))]
    assert min(sides) == 5
    assert max(sides) == 24
    assert np.mean(sides) == pytest.approx(0.3 * 48, abs=1)


def test_the_mean_colour_can_fill_it():
    sample = Cutout("nut", NORMAL, "mean").sample("defect", [1])[0]
    assert np.array_equal(np.unique(sample.image[sample.mask == 1], axis=0)[0], np.rint(sample.clean.mean((0, 1))))


def test_a_black_square_on_black_is_drawn_again():
    half = NORMAL.copy()
    half[:, :, :24] = 0
    for sample in Cutout("nut", half).sample("defect", range(40)):
        assert sample.mask.any()
        assert not sample.mask[:, :24].any()
    with pytest.raises(DataError, match="seed 4 changed nothing in 20 normal images"):
        Cutout("nut", np.zeros_like(NORMAL)).sample("defect", [4])


def test_a_sample_depends_on_its_seed_alone():
    a, b = Cutout("nut", NORMAL).sample("defect", [3, 9]), Cutout("nut", NORMAL).sample("defect", [9])
    assert np.array_equal(a[1].image, b[0].image)
    assert a[1].provenance == b[0].provenance
    assert not np.array_equal(a[0].image, a[1].image)


def test_errors_name_what_is_wrong():
    with pytest.raises(DataError, match="cutout needs at least one normal image"):
        Cutout("nut", NORMAL[:0])
    with pytest.raises(ConfigError, match="must be zero or mean, got 'red'"):
        Cutout("nut", NORMAL, "red")
    with pytest.raises(UnknownDefectError, match="unknown defect 'hole' for nut; known: defect"):
        Cutout("nut", NORMAL).sample("hole", [0])
