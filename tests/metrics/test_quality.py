import json

import numpy as np
import pytest

from defect_synth.data.store import ImageArrays
from defect_synth.errors import ConfigError, DataError, UnknownDefectError
from defect_synth.metrics.features import RandomFeatures
from defect_synth.metrics.quality import RealDefects, measure_quality
from defect_synth.metrics.quality_report import DefectQuality, Figure
from defect_synth.samples import DefectSample, Provenance
from tests.fake_data import fake_nut

SIDE = 32
NETWORK = "random convolutions"


def nut(seed, defect="hole"):
    return fake_nut(np.random.default_rng(seed), SIDE, defect)


def real_images(count, seed, defect="hole"):
    drawn = [nut(seed + i, defect) for i in range(count)]
    images, masks = (np.stack(each) for each in zip(*drawn, strict=True))
    return ImageArrays(images, masks, tuple(f"{seed + i}.png" for i in range(count)))


class Nuts:
    """Fresh samples from the very distribution of the real ones."""

    category, defects, digest = "nut", ("cut", "hole"), "fresh"

    def __init__(self):
        self.drawn = []

    def sample(self, defect, seeds):
        self.drawn += seeds
        return [self._one(defect, seed) for seed in seeds]

    def _one(self, defect, seed):
        image, mask = nut(1_000_000 + seed, defect)
        clean = image.copy()
        clean[mask == 1] = [190, 140, 90]
        return DefectSample(image, mask, defect, Provenance("fake", "nut", defect, seed), clean)


class Copies(Nuts):
    """Training images over and over, one grey level brighter."""

    digest = "copies"

    def _one(self, defect, seed):
        image, mask = nut(seed % 6, defect)
        return DefectSample(image + np.uint8(1), mask, defect, Provenance("fake", "nut", defect, seed))


REAL = {"hole": RealDefects(real_images(6, 0), real_images(10, 100))}


@pytest.fixture(scope="module")
def fresh():
    return measure_quality(Nuts(), REAL, [RandomFeatures()], count=100, lpips_count=40)


@pytest.fixture(scope="module")
def copied():
    return measure_quality(Copies(), REAL, [RandomFeatures()], count=100, lpips_count=40)


def name(metric, view, against="training defects"):
    return f"{metric} ({NETWORK}), {view}, to {against}"


def test_substitutes_never_have_the_names_of_published_figures(fresh):
    names = [figure.name for figure in fresh.of("hole").figures]
    assert not any("KID" in each or "LPIPS" in each for each in names)
    assert name("MMD x1000", "whole image") in names
    assert name("MMD x1000", "defect crop", "held-out defects") in names
    assert f"clustered distance, corrected ({NETWORK}), whole image, to training defects" in names
    assert len(set(names)) == len(names)


def test_inception_features_make_a_figure_called_kid():
    published = RandomFeatures()
    published.name = "Inception"
    found = measure_quality(Nuts(), REAL, [published], count=8, lpips_count=4)
    assert "KID x1000 (Inception), whole image, to held-out defects" in [f.name for f in found.of("hole").figures]


def test_copies_have_a_better_mmd_to_training_and_are_detected(fresh, copied):
    fresh, copied = fresh.of("hole"), copied.of("hole")
    ratio = name("nearest-neighbour ratio", "whole image")

    assert copied.value(name("MMD x1000", "whole image")) < fresh.value(name("MMD x1000", "whole image"))
    assert copied.value(ratio) < 0.2
    assert 0.6 < fresh.value(ratio) < 1.5
    assert copied.value(name("closer than any held-out image", "whole image")) == 1
    key = f"clustered distance, corrected ({NETWORK}), whole image, to training defects"
    assert copied.value(key) < 1e-6 < fresh.value(key)
    assert copied.closest[0].real == f"{copied.closest[0].seed % 6}.png"


def test_interval_of_mmd_contains_it_and_contains_0_for_the_same_distribution(fresh):
    figures = {figure.name: figure for figure in fresh.of("hole").figures}
    mmd = figures[name("MMD x1000", "whole image", "held-out defects")]
    assert mmd.low < mmd.value < mmd.high
    assert mmd.low < 0 < mmd.high


def test_masks_and_agreement_are_reported(fresh, copied):
    fresh = fresh.of("hole")
    assert fresh.value("mask-change AUC") == 1
    assert fresh.value("change outside the mask") == 0
    assert fresh.value("empty masks") == 0
    assert fresh.value("outline contrast ratio, to real defects") == pytest.approx(1, abs=0.2)
    assert any("no paired clean images" in reason for reason in copied.of("hole").skipped)


def test_figures_that_cannot_be_computed_are_listed_with_the_reason():
    few = {"hole": RealDefects(real_images(3, 0))}
    found = measure_quality(Nuts(), few, [RandomFeatures()], count=8, lpips_count=4).of("hole")
    assert found.held_out == 0
    assert any("precision and recall" in reason and "at least 4 real" in reason for reason in found.skipped)
    assert any("memorisation" in reason and "no held-out defects" in reason for reason in found.skipped)


def test_a_single_real_image_gives_the_figures_that_need_no_more():
    real = {"hole": RealDefects(real_images(1, 0))}
    found = measure_quality(Nuts(), real, [RandomFeatures()], count=8, lpips_count=4).of("hole")
    assert any("MMD" in reason and "at least 2 training images, got 1" in reason for reason in found.skipped)
    assert found.value("mask-change AUC") == 1
    assert found.closest == ()


def test_a_second_call_draws_nothing_and_gives_the_same_report(tmp_path):
    first, second = Nuts(), Nuts()
    settings = {"count": 70, "lpips_count": 10, "cache": tmp_path}
    before = measure_quality(first, REAL, [RandomFeatures()], **settings)
    after = measure_quality(second, REAL, [RandomFeatures()], **settings)

    assert len(first.drawn) == 70
    assert second.drawn == []
    assert json.dumps(before.to_json()) == json.dumps(after.to_json())


def test_an_interrupted_call_continues_where_it_stopped(tmp_path):
    settings = {"count": 140, "lpips_count": 10, "cache": tmp_path}

    def stop(_text, done, _total):
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_quality(Nuts(), REAL, [RandomFeatures()], progress=stop, **settings)
    rest = Nuts()
    found = measure_quality(rest, REAL, [RandomFeatures()], **settings)

    assert sorted(rest.drawn) == [*range(64), *range(128, 140)]  # the first chunk again for its pixels
    plain = measure_quality(Nuts(), REAL, [RandomFeatures()], count=140, lpips_count=10)
    assert found.of("hole") == plain.of("hole")


def test_results_of_a_source_with_another_digest_are_not_reused(tmp_path):
    class Other(Nuts):
        digest = "other"

    settings = {"count": 8, "lpips_count": 4, "cache": tmp_path}
    measure_quality(Nuts(), REAL, [RandomFeatures()], **settings)
    other = Other()
    measure_quality(other, REAL, [RandomFeatures()], **settings)
    assert other.drawn == list(range(8))


def test_all_samples_of_a_finite_source_are_used():
    class Folder(Nuts):
        def seeds(self, defect):
            return (5, 7, 9)

    source = Folder()
    assert measure_quality(source, REAL, [RandomFeatures()], count=100).of("hole").generated == 3
    assert source.drawn == [5, 7, 9]


def test_progress_reaches_its_total():
    calls = []
    settings = {"count": 70, "lpips_count": 10, "progress": lambda *call: calls.append(call)}
    measure_quality(Nuts(), REAL, [RandomFeatures()], **settings)
    assert [done for _, done, _ in calls] == [64, 70, 80, 80]
    assert {total for *_, total in calls} == {80}


def test_table_and_json_hold_every_figure(fresh):
    values = json.loads(json.dumps(fresh.to_json()))
    assert values["format"] == 1
    (entry,) = values["defects"]
    table = fresh.table()
    for figure in entry["figures"]:
        assert figure["name"] in table
    assert "100 / 6 / 10" in table


def test_wrong_calls_are_refused():
    with pytest.raises(ConfigError, match="at least 1 feature extractor"):
        measure_quality(Nuts(), REAL, [])
    with pytest.raises(ConfigError, match="different names"):
        measure_quality(Nuts(), REAL, [RandomFeatures(), RandomFeatures(1)])
    with pytest.raises(UnknownDefectError, match="unknown defect 'print'"):
        measure_quality(Nuts(), {"print": REAL["hole"]}, [RandomFeatures()])
    with pytest.raises(DataError, match="real images of at least 1 defect"):
        measure_quality(Nuts(), {}, [RandomFeatures()])


def test_an_empty_digest_is_refused():
    class Anonymous(Nuts):
        digest = ""

    nameless = RandomFeatures()
    nameless.digest = ""
    with pytest.raises(ConfigError, match="RandomFeatures has an empty digest"):
        measure_quality(Nuts(), REAL, [nameless], count=4)
    with pytest.raises(ConfigError, match="Anonymous has an empty digest"):
        measure_quality(Anonymous(), REAL, [RandomFeatures()], count=4)


def test_change_outside_the_mask_is_measured_before_samples_are_resized():
    class Large(Nuts):
        digest = "large"

        def _one(self, defect, seed):
            image, mask = (np.kron(part, np.ones((3, 3, *[1] * (part.ndim - 2)), np.uint8)) for part in nut(seed))
            clean = image.copy()
            clean[mask == 1] = [190, 140, 90]
            return DefectSample(image, mask, defect, Provenance("fake", "nut", defect, seed), clean)

    found = measure_quality(Large(), REAL, [RandomFeatures()], count=4, lpips_count=4).of("hole")
    assert found.value("change outside the mask") == 0
    assert found.value("change inside the mask") > 10


def test_numbers_are_short_and_never_in_powers_of_ten():
    shown = [Figure("m", "", "", "", value, low, high).text for value, low, high in
             ((1254.3, -2190.0, 4680.0), (0.012345, None, None), (-1.5, -2.25, 0.0), (67050071.0, 44688027, 89412116),
              (1e-7, -1e-7, 1e12), (12345.6, -12345.6, -1e9))]  # fmt: skip
    assert shown == [
        "1254 [-2190, 4680]", "0.0123", "-1.5 [-2.25, 0]", "67.1 million [44.7 million, 89.4 million]",
        "below 0.0001 [-0.0001 to 0, over a billion]", "12,346 [-12,346, below minus a billion]",
    ]  # fmt: skip


def test_the_report_begins_with_a_verdict(fresh, copied):
    assert fresh.of("hole").verdict == {
        "like real ones": "no difference found", "copies of training images": "none found",
        "masks like real ones": "no difference found", "mask where the change is": "exactly",
    }  # fmt: skip
    assert copied.of("hole").verdict["copies of training images"] == "suspected"
    assert copied.of("hole").verdict["mask where the change is"] == "not known, no clean images"
    lines = fresh.table().splitlines()
    assert lines[2] == "| verdict | hole |"
    assert "| like real ones | no difference found |" in lines[:8]
    assert fresh.to_json()["defects"][0]["verdict"] == fresh.of("hole").verdict


class Noise(Nuts):
    """Nothing like the real ones; the mask is unrelated to the change."""

    digest = "noise"

    def _one(self, defect, seed):
        rng = np.random.default_rng(seed)
        image, clean = rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[: SIDE // 2] = 1
        return DefectSample(image, mask, defect, Provenance("fake", "nut", defect, seed), clean)


def test_a_difference_is_named():
    verdict = measure_quality(Noise(), REAL, [RandomFeatures()], count=12, lpips_count=12).of("hole").verdict
    assert verdict["like real ones"] == "no, the whole image and the defect differ"
    assert verdict["masks like real ones"].startswith("no, area")
    assert verdict["mask where the change is"].startswith("no, AUC 0.")


def test_a_verdict_without_figures_is_not_known():
    verdict = DefectQuality("hole", 2, 1, 0, ()).verdict
    assert {text.split(",")[0] for text in verdict.values()} == {"not known"}
