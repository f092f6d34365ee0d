import numpy as np
import pytest

from defect_synth.baselines.crop_paste import CropPaste
from defect_synth.benchmark.sources import DefectsOnGoodImages, ResizedSource, RoundRobinSource
from defect_synth.benchmark.standard_augmentation import StandardAugmentation
from defect_synth.data.square import fit_to_square
from defect_synth.errors import DataError
from defect_synth.samples import DefectSample, DefectSource, Provenance
from tests.fake_data import fake_category


@pytest.fixture(scope="module")
def real():
    made = list(fake_category({"cut": 3, "hole": 4}, good=5, size=32, seed=0))
    defects = {
        name: tuple(np.stack([row[i] for row in made if row[0] == name]) for i in (2, 3)) for name in ("cut", "hole")
    }
    return defects, np.stack([image for defect, _, image, _ in made if defect is None])


def test_standard_augmentation_depends_on_its_seed_alone(real):
    defects, _ = real
    one, other = StandardAugmentation("nut", defects), StandardAugmentation("nut", defects)
    first = one.sample("hole", [3, 4, 5])
    again = other.sample("hole", [5]) + other.sample("hole", [3])
    assert np.array_equal(first[2].image, again[0].image)
    assert np.array_equal(first[0].image, again[1].image)
    assert not np.array_equal(first[0].image, first[1].image)


def test_standard_augmentation_moves_the_mask_with_the_image(real):
    defects, _ = real
    for sample in StandardAugmentation("nut", defects).sample("hole", range(8)):
        inside = sample.image[sample.mask == 1].astype(float).mean()
        disc = sample.image[(sample.mask == 0) & (sample.image[..., 0] > 110)].astype(float).mean()
        assert inside < disc - 40  # holes are dark, the nut around them is bright


def test_standard_augmentation_keeps_dark_images_visible(real):
    defects, _ = real
    dark = {name: (images // 4, masks) for name, (images, masks) in defects.items()}
    means = [sample.image.mean() for sample in StandardAugmentation("nut", dark).sample("hole", range(20))]
    assert min(means) > 0.6 * dark["hole"][0].mean()


def test_a_defect_on_a_good_image_depends_on_its_seed_alone(real):
    _, good = real

    def put(image, defect, rng):
        mask = (rng.random(image.shape[:2]) < 0.1).astype(np.uint8)
        changed = np.where(mask[..., None] > 0, np.uint8(0), image)
        return DefectSample(changed, mask, defect, Provenance("x", "nut", defect, 0), image)

    source = DefectsOnGoodImages("dots", "nut", ("hole", "cut"), good, put, "d")
    assert source.defects == ("cut", "hole")
    a, b = source.sample("hole", [1, 9]), source.sample("hole", [9])
    assert np.array_equal(a[1].image, b[0].image)
    assert a[1].provenance == Provenance("dots", "nut", "hole", 9, source.digest, a[1].provenance.parameters)
    assert np.array_equal(a[0].clean, good[int(a[0].provenance.parameters["good_image"])])
    assert not np.array_equal(a[0].mask, source.sample("cut", [1])[0].mask)


def test_a_defect_that_does_not_fit_is_tried_on_another_image(real):
    _, good = real
    tried = []

    def put(image, defect, rng):
        tried.append(image.tobytes())
        mask = np.full(image.shape[:2], len(set(tried)) > 2, np.uint8)
        return DefectSample(image, mask, defect, Provenance("x", "nut", defect, 0), image)

    assert DefectsOnGoodImages("dots", "nut", ("hole",), good, put, "d").sample("hole", [1])[0].mask.all()
    assert len(set(tried)) == 3

    def never(image, defect, rng):
        return DefectSample(
            image, np.zeros(image.shape[:2], np.uint8), defect, Provenance("x", "nut", defect, 0), image
        )

    with pytest.raises(DataError, match="no hole could be put into 20 good images"):
        DefectsOnGoodImages("dots", "nut", ("hole",), good, never, "d").sample("hole", [1])


def test_sources_take_turns(real):
    defects, good = real
    paste, standard = CropPaste("nut", defects, good), StandardAugmentation("nut", defects)
    mixed = RoundRobinSource((paste, standard))
    samples = mixed.sample("hole", [0, 1, 2, 3])
    assert [s.provenance.method for s in samples] == ["crop_paste", "standard_augmentation"] * 2
    assert [s.provenance.seed for s in samples] == [0, 1, 2, 3]
    assert np.array_equal(samples[3].image, standard.sample("hole", [1])[0].image)


def test_samples_are_resized_as_real_images_are():
    rng = np.random.default_rng(0)
    good = [rng.integers(60, 200, (80, 120, 3), dtype=np.uint8), rng.integers(60, 200, (96, 96, 3), dtype=np.uint8)]

    def put(image, defect, rng):
        y, x = (int(rng.integers(8, length - 8)) for length in image.shape[:2])
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[y, x - 6 : x + 6] = 1  # thinner than a pixel of the squares
        image[mask > 0] = 0
        return DefectSample(image, mask, defect, Provenance("line", "tile", defect, 0), image)

    whole = DefectsOnGoodImages("line", "tile", ("scratch",), good, put, "d")
    source = ResizedSource(whole, 32, "letterbox")

    assert isinstance(source, DefectSource)
    assert source.defects == ("scratch",)
    assert source.digest != ResizedSource(whole, 48, "letterbox").digest
    samples = source.sample("scratch", range(40))  # more than are kept in memory at once
    large = whole.sample("scratch", range(40))
    for sample, before in zip(samples, large, strict=True):
        image, mask, _ = fit_to_square(before.image, before.mask, 32, "letterbox")
        assert np.array_equal(sample.image, image)
        assert np.array_equal(sample.mask, mask)
        assert sample.mask.any()
        assert sample.provenance == before.provenance
    assert len({s.image.tobytes() for s in large}) == 40
