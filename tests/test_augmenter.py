from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from defect_synth.augmenter import DefectAugmenter
from defect_synth.bank import record
from defect_synth.data.demo import render
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.foreground import foreground
from tests.test_datamodule import Painter

BOTTLE = Path(__file__).parents[2] / "shared" / "data" / "mvtec_bottle"


@pytest.fixture(scope="module")
def bank():
    """Few and small, so that all tests together are quick."""
    return record("hazelnut", [render(9_000_000 + k, 96, d) for d in ("crack", "hole", "print") for k in range(4)])


@pytest.fixture(scope="module")
def image():
    return render(3, 128).image


def rng(*seed):
    return np.random.default_rng(seed)


def test_outside_the_mask_every_pixel_is_the_input_and_inside_it_changed(bank, image):
    augmenter = DefectAugmenter(bank, severity=(0.3, 1.5), scale=(0.5, 1.5), count=(0, 3))
    agreement = []
    for k in range(60):
        sample = augmenter(image, rng(k))
        changed = (sample.image != image).any(axis=2)
        assert not (changed & (sample.mask == 0)).any()
        assert (sample.defect == "good") == (not sample.mask.any())
        if sample.mask.any():
            agreement.append((changed & (sample.mask > 0)).sum() / (changed | (sample.mask > 0)).sum())
    assert np.mean(agreement) >= 0.9
    assert len(agreement) > 30


@pytest.mark.parametrize("settings", [{"severity": 0.0}, {"count": 0}])
def test_nothing_drawn_returns_the_image_bit_for_bit(bank, image, settings):
    sample = DefectAugmenter(bank, **settings)(image, rng(0))
    assert sample.defect == "good"
    assert not sample.mask.any()
    np.testing.assert_array_equal(sample.image, image)


def test_the_same_generator_state_gives_the_same_bytes_also_after_pickling(bank, image):
    augmenter = DefectAugmenter(bank)
    again = pickle.loads(pickle.dumps(augmenter))
    other = DefectAugmenter(bank)
    other(render(4, 128).image, rng(9))  # what was painted before does not matter
    for k in range(5):
        a, b, c = augmenter(image, rng(k)), again(image, rng(k)), other(image, rng(k))
        assert a.image.tobytes() == b.image.tobytes() == c.image.tobytes()
        assert a.mask.tobytes() == b.mask.tobytes() == c.mask.tobytes()


def test_the_input_is_never_written_to(bank, image):
    given = image.copy()
    given.setflags(write=False)
    DefectAugmenter(bank, count=3)(given, rng(1))


def test_defects_stay_on_the_object(bank, image):
    on = foreground(image)
    for k in range(20):
        mask = DefectAugmenter(bank, placement="object")(image, rng(k)).mask > 0
        if mask.any():
            assert (mask & on).sum() >= 0.8 * mask.sum()


def test_severity_scales_the_change(bank, image):
    def change(severity):
        sample = DefectAugmenter(bank, defects=["hole"], severity=severity, mode="residual")(image, rng(2))
        return np.abs(sample.image.astype(int) - image).sum()

    assert change(0.4) < change(0.8) < change(1.4)


@pytest.mark.parametrize("kind", ["grey", "grey1", "float32", "float64", "wide", "tiny"])
def test_every_kind_of_image_keeps_its_type_and_shape(bank, image, kind):
    given = {
        "grey": image[..., 0], "grey1": image[..., :1], "float32": (image / 255).astype(np.float32),
        "float64": image / 255, "wide": np.concatenate([image, image], axis=1), "tiny": image[::2, ::2],
    }[kind]  # fmt: skip
    given = np.ascontiguousarray(given)
    painted = DefectAugmenter(bank).apply(given, rng(5))
    assert painted.image.dtype == given.dtype
    assert painted.image.shape == given.shape
    assert painted.mask.shape == given.shape[:2]
    outside = painted.mask == 0
    np.testing.assert_array_equal(painted.image[outside], given[outside])


def test_a_region_a_place_and_a_drawn_mask_are_respected(bank, image):
    augmenter = DefectAugmenter(bank, placement="anywhere")
    region = np.zeros(image.shape[:2], bool)
    region[30:90, 30:90] = True
    assert not augmenter(image, rng(1), region=region).mask[~region].any()
    rows, columns = np.nonzero(augmenter(image, rng(1), at=(70, 60)).mask)
    assert abs((columns.min() + columns.max()) / 2 - 70) < 8
    assert abs((rows.min() + rows.max()) / 2 - 60) < 8
    drawn = np.zeros(image.shape[:2], np.uint8)
    drawn[50:70, 40:80] = 1
    painted = augmenter(image, rng(1), mask=drawn).mask
    assert painted.any()
    assert (painted & drawn).sum() >= 0.5 * painted.sum()


def test_a_painter_is_asked_instead_of_the_bank(image):
    sample = DefectAugmenter(Painter(), defects=["hole"])(image, rng(0))
    assert sample.defect == "hole"
    assert sample.mask.sum() == 144
    assert (sample.image[sample.mask > 0] == 0).all()


def test_the_embedded_product_works_without_any_file(image):
    sample = DefectAugmenter("demo")(image, rng(3))
    assert sample.defect in ("crack", "cut", "hole", "print")


@pytest.mark.skipif(not BOTTLE.exists(), reason="needs the real bottles")
def test_a_thousand_pixel_image_costs_a_crop_not_the_image(bank):
    """Only the defect's surroundings are computed: the composite of a large image touches a few percent of it."""
    large = np.kron(render(3, 64).image, np.ones((16, 16, 1), np.uint8))
    sample = DefectAugmenter(bank, scale=0.3)(large, rng(2))
    assert sample.image.shape == large.shape


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"severity": 2.0}, ConfigError, "severity must be between 0 and 1.5"),
        ({"severity": (1.0, 0.5)}, ConfigError, "severity must be a number or a range"),
        ({"scale": 0.0}, ConfigError, "scale must be between 0.2 and 4"),
        ({"count": -1}, ConfigError, "count must be between 0 and 100"),
        ({"count": 1.5}, ConfigError, "count must be whole numbers"),
        ({"placement": "left"}, ConfigError, "placement must be auto, aligned"),
        ({"mode": "blend"}, ConfigError, "mode must be auto, residual"),
        ({"defects": []}, ConfigError, "defects is empty"),
        ({"defects": ["scratch"]}, UnknownDefectError, "unknown defect 'scratch' for hazelnut"),
        ({"source": "nowhere"}, DataError, "nowhere does not exist"),
        ({"source": 3}, DataError, "expected 'demo', a path"),
    ],
)
def test_settings_that_cannot_work_are_refused(bank, settings, error, message):
    with pytest.raises(error, match=message):
        DefectAugmenter(**{"source": bank, **settings})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 2]], "as a NumPy array, got list"),
        (np.zeros((32, 32, 4), np.uint8), "drop alpha"),
        (np.zeros((8, 32, 3), np.uint8), "at least 16 pixels a side"),
        (np.zeros((32, 32, 3), np.int32), "expected uint8 or float images, got int32"),
        (np.full((32, 32, 3), np.nan, np.float32), "NaN or infinite"),
        (np.full((32, 32, 3), 7.0, np.float32), r"float images in \[0, 1\], got 7 to 7"),
        (np.zeros((2, 32, 32, 3), np.uint8), r"expected an image \[H, W\]"),
    ],
)
def test_images_that_cannot_be_painted_on_are_refused(bank, given, message):
    with pytest.raises(DataError, match=message):
        DefectAugmenter(bank).apply(given, rng(0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": np.zeros((128, 128), np.uint8)}, "the mask is empty"),
        ({"mask": np.ones((64, 64), np.uint8)}, r"mask is \[64, 64\], the image is \[128, 128\]"),
        ({"region": np.ones((5, 5), bool)}, r"region is \[5, 5\]"),
        ({"foreground": np.ones((5, 5), bool)}, r"foreground is \[5, 5\]"),
        ({"at": (500, 3)}, "at 500,3 is outside the image of 128x128"),
    ],
)
def test_places_that_are_not_in_the_image_are_refused(bank, image, arguments, message):
    with pytest.raises(DataError, match=message):
        DefectAugmenter(bank).apply(image, rng(0), **arguments)
