from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import cv2
import numpy as np
import pytest

from defect_synth.demo.hazelnut import CATEGORY, DEFECTS, VISIBLE, DemoSource, object_mask, render
from defect_synth.errors import ConfigError, UnknownDefectError
from defect_synth.samples import DefectSample, DefectSource

SEEDS = range(300, 326)


@pytest.fixture(scope="module")
def samples() -> dict[str, list[DefectSample]]:
    return {defect: [render(seed, 64, defect) for seed in SEEDS] for defect in DEFECTS}


def moved(sample: DefectSample) -> np.ndarray:
    return np.abs(sample.image.astype(int) - sample.clean).max(2)


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_seed_gives_the_same_bytes_in_any_thread(defect):
    first = render(5, 48, defect)
    with ThreadPoolExecutor(2) as pool:
        for again in pool.map(lambda _: render(5, 48, defect), range(4)):
            assert again.image.tobytes() == first.image.tobytes()
            assert again.mask.tobytes() == first.mask.tobytes()
            assert again.clean.tobytes() == first.clean.tobytes()


def test_another_seed_is_another_nut_in_another_pose():
    nuts = [object_mask(seed, 64) for seed in range(12)]
    images = [render(seed, 64).image.astype(int) for seed in range(12)]
    for i in range(12):
        for j in range(i):
            assert np.count_nonzero(nuts[i] != nuts[j]) > 20
            both = (nuts[i] & nuts[j]) > 0
            assert np.abs(images[i] - images[j]).max(2)[both].mean() > 5


def test_a_good_nut_has_no_defect():
    sample = render(3, 64)
    assert sample.defect == "good"
    assert sample.mask.max() == 0
    assert np.array_equal(sample.image, sample.clean)
    assert sample.provenance.to_json() == {
        "method": "procedural",
        "category": "hazelnut",
        "defect": "good",
        "seed": 3,
        "checkpoint": "",
        "parameters": {"resolution": 64},
    }


def test_the_nut_is_brown_and_brighter_than_the_cloth_and_fills_a_third():
    for seed in range(8):
        image, nut = render(seed, 64).image.astype(int), object_mask(seed, 64) > 0
        red, green, blue = image[nut].mean(0)
        assert red > 1.3 * green > 1.3 * blue
        assert red > 2 * image[~nut].mean(0)[0]
        assert 0.3 < nut.mean() < 0.45
        edge = np.concatenate([nut[0], nut[-1], nut[:, 0], nut[:, -1]])
        assert not edge.any()


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_clean_nut_of_a_defect_is_the_good_nut_of_its_seed(defect):
    sample = render(11, 64, defect)
    assert np.array_equal(sample.clean, render(11, 64).image)
    assert (sample.defect, sample.provenance.defect, sample.provenance.seed) == (defect, defect, 11)


@pytest.mark.parametrize("defect", DEFECTS)
def test_pixels_outside_the_mask_equal_the_clean_nut(samples, defect):
    for sample in samples[defect]:
        assert moved(sample)[sample.mask == 0].max() == 0


@pytest.mark.parametrize("defect", DEFECTS)
def test_nine_in_ten_pixels_of_the_mask_changed_visibly_and_none_stayed(samples, defect):
    for sample in samples[defect]:
        inside = moved(sample)[sample.mask == 1]
        assert (inside >= VISIBLE).mean() >= 0.9
        assert inside.min() >= VISIBLE // 2


@pytest.mark.parametrize("defect", DEFECTS)
def test_the_mask_lies_on_the_nut(samples, defect):
    for seed, sample in zip(SEEDS, samples[defect], strict=True):
        assert not (sample.mask & (1 - object_mask(seed, 64))).any()


@pytest.mark.parametrize(
    ("defect", "median", "largest"),
    [
        ("crack", (0.004, 0.012), 0.02),
        ("cut", (0.002, 0.009), 0.015),
        ("hole", (0.002, 0.008), 0.012),
        ("print", (0.005, 0.018), 0.025),
    ],
)
def test_areas_reach_from_thin_to_large(samples, defect, median, largest):
    areas = np.array([sample.mask.mean() for sample in samples[defect]])
    assert areas.min() > 0
    assert areas.min() < 0.005  # thin ones are there
    assert np.mean(areas < 0.005) > 0.05
    assert median[0] < np.median(areas) < median[1]
    assert largest < areas.max() < 0.15


@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_differ_in_strength(samples, defect):
    strengths = [np.median(moved(sample)[sample.mask == 1]) for sample in samples[defect]]
    assert np.quantile(strengths, 0.9) > 1.5 * np.quantile(strengths, 0.1)


@pytest.mark.parametrize("defect", DEFECTS)
def test_no_defect_is_lost_at_the_smallest_resolution(defect):
    for seed in SEEDS:
        assert render(seed, 32, defect).mask.any()


def test_two_defects_of_a_seed_are_drawn_independently():
    """Else every defect of one seed would lie in the same place."""
    centres = [np.argwhere(render(8, 64, defect).mask).mean(0) for defect in DEFECTS]
    assert all(np.linalg.norm(a - b) > 1 for a, b in pairwise(centres))


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_nut_at_half_the_resolution_differs_in_detail_only(defect):
    for seed in (2, 3, 4):
        fine, coarse = render(seed, 256, defect), render(seed, 128, defect)
        shrunk = cv2.resize(fine.image, (128, 128), interpolation=cv2.INTER_AREA).astype(int)
        difference = shrunk - coarse.image
        assert np.abs(difference).mean() < 2.5  # the camera's noise alone makes 1.1
        assert np.abs(difference.mean((0, 1))).max() < 1
        blurred = cv2.blur(difference.astype(np.float32), (7, 7))
        assert np.abs(blurred).max() < 10  # nothing moved or grew
        if defect:
            # Masks differ where a line is too faint for the coarse image; what is still visible there is in its mask.
            share = cv2.resize(fine.mask, (128, 128), interpolation=cv2.INTER_AREA)
            before = cv2.resize(fine.clean, (128, 128), interpolation=cv2.INTER_AREA).astype(int)
            still_visible = np.abs(shrunk - before).max(2) >= 1.5 * VISIBLE
            square = np.ones((3, 3), np.uint8)
            assert still_visible.any()
            assert cv2.dilate(coarse.mask, square)[still_visible].all()
            assert cv2.dilate((share > 0).astype(np.uint8), square)[coarse.mask > 0].all()


@pytest.mark.parametrize("resolution", [33, 100])
def test_the_resolution_needs_not_be_a_power_of_two(resolution):
    assert render(1, resolution, "hole").image.shape == (resolution, resolution, 3)


@pytest.mark.parametrize("resolution", [31, 1025])
def test_a_resolution_out_of_range_is_refused(resolution):
    with pytest.raises(ConfigError, match=rf"resolution must be 32\.\.1024, got {resolution}"):
        render(0, resolution)
    with pytest.raises(ConfigError, match="resolution"):
        DemoSource(resolution)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match="seed must be 0 or more, got -1"):
        render(-1, 64)


def test_an_unknown_defect_is_refused():
    with pytest.raises(UnknownDefectError, match="unknown defect 'dent' for hazelnut; known: crack, cut, hole, print"):
        render(0, 64, "dent")
    with pytest.raises(UnknownDefectError, match="unknown defect 'good'"):
        DemoSource(64).sample("good", [0])


def test_the_source_keeps_the_contract_of_a_defect_source():
    source = DemoSource(48)
    assert isinstance(source, DefectSource)
    assert (source.category, source.defects) == (CATEGORY, tuple(sorted(DEFECTS)))
    together = source.sample("cut", [7, 4, 7])
    alone = source.sample("cut", [4])[0]
    assert np.array_equal(together[1].image, alone.image)
    assert np.array_equal(together[0].mask, together[2].mask)
    assert [sample.provenance.seed for sample in together] == [7, 4, 7]
