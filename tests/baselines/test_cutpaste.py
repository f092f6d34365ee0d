import numpy as np
import pytest

from defect_synth.baselines.cutpaste import CutPaste, jittered
from defect_synth.errors import ConfigError

NORMAL = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
LARGE = np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), dtype=np.uint8)


def drawn(source, count, *names):
    samples = source.sample("defect", range(count))
    return [np.array([float(s.provenance.parameters[name]) for s in samples]) for name in names]


@pytest.mark.parametrize("variant", ["patch", "scar"])
def test_the_mask_is_what_changed_and_all_else_is_the_normal_image(variant):
    for sample in CutPaste("nut", NORMAL, variant).sample("defect", range(20)):
        changed = (sample.image != sample.clean).any(2)
        assert changed.any()
        assert np.array_equal(sample.mask == 1, changed)
        assert np.array_equal(sample.clean, NORMAL[int(sample.provenance.parameters["good_image"])])


def test_a_patch_fills_its_rectangle():
    for sample in CutPaste("nut", NORMAL).sample("defect", range(20)):
        top, left, tall, wide = (int(sample.provenance.parameters[n]) for n in ("top", "left", "height", "width"))
        rows, columns = np.flatnonzero(sample.mask.any(1)), np.flatnonzero(sample.mask.any(0))
        assert (rows[0], rows[-1], columns[0], columns[-1]) == (top, top + tall - 1, left, left + wide - 1)
        assert sample.mask.sum() > 0.99 * tall * wide  # noise agrees with itself in some pixel at times


def test_patches_have_the_published_areas_and_aspects():
    area, aspect, tall, wide = drawn(CutPaste("nut", NORMAL), 400, "area", "aspect", "height", "width")
    assert 0.02 <= area.min() < 0.03
    assert 0.14 < area.max() <= 0.15
    assert 0.3 <= aspect.min() < 0.35
    assert 3.0 < aspect.max() <= 3.3
    assert 0.4 < (aspect < 1).mean() < 0.6  # tall as often as wide
    assert np.abs(tall * wide / 64**2 / area - 1).max() < 0.15  # rounding to pixels
    assert np.corrcoef(tall / wide, aspect)[0, 1] > 0.98


def test_a_patch_comes_from_the_same_image_a_little_recoloured():
    image = np.zeros((1, 64, 64, 3), np.uint8)
    image[0] = (np.arange(64) * 4)[:, None, None]  # grey, brighter downwards
    for sample in CutPaste("nut", image).sample("defect", range(20)):
        inside = sample.image[sample.mask == 1].astype(int)
        assert np.ptp(inside, axis=1).max() <= 1  # saturation and hue leave grey grey
        assert inside.max() <= 1.1 * 1.1 * 252 + 1


def test_scars_have_the_published_sizes_and_angles():
    width, length, angle = drawn(CutPaste("nut", LARGE, "scar"), 300, "width", "length", "angle")
    assert 2 <= width.min() < 3
    assert 15 < width.max() <= 16
    assert 10 <= length.min() < 11
    assert 24 < length.max() <= 25
    assert -45 <= angle.min() < -43
    assert 43 < angle.max() <= 45


def test_a_scar_covers_its_turned_rectangle():
    for sample in CutPaste("nut", LARGE, "scar").sample("defect", range(30)):
        p = sample.provenance.parameters
        wide, tall = round(float(p["width"])), round(float(p["length"]))
        assert int(sample.mask.sum()) == pytest.approx(wide * tall, rel=0.2, abs=12)
        y, x = np.nonzero(sample.mask)
        reach = np.hypot(np.ptp(y), np.ptp(x))
        assert reach <= np.hypot(wide, tall) * np.sqrt(2) + 2
        if tall > 3 * wide:  # the long axis lies at the angle: cv2 turns anticlockwise, and down is positive
            axis = np.linalg.eigh(np.cov(np.stack([x, y])))[1][:, 1]
            found = np.degrees(np.arctan2(axis[0], axis[1]))
            assert (found - float(p["angle"]) + 90) % 180 - 90 == pytest.approx(0, abs=8)


def test_scars_shrink_with_the_image():
    large, small = (
        np.mean([s.mask.sum() for s in CutPaste("nut", images, "scar").sample("defect", range(60))])
        for images in (LARGE, NORMAL)
    )
    assert large / small == pytest.approx(16, rel=0.3)


def test_jitter_moves_colours_by_a_tenth_at_most():
    grey = np.full((4, 4, 3), 100, np.uint8)
    means = [float(jittered(grey, np.random.default_rng(seed)).mean()) for seed in range(200)]
    assert 89 <= min(means) < 93
    assert 107 < max(means) <= 111
    red = np.full((4, 4, 3), (200, 50, 50), np.uint8)
    hues = np.array([jittered(red, np.random.default_rng(seed))[0, 0] for seed in range(100)], int)
    assert (hues[:, 0] >= hues[:, 1:].max(1)).all()  # 36 degrees keep red the strongest
    assert (hues[:, 1] > hues[:, 2]).any()
    assert (hues[:, 1] < hues[:, 2]).any()


@pytest.mark.parametrize("variant", ["patch", "scar"])
def test_a_sample_depends_on_its_seed_alone(variant):
    a, b = (CutPaste("nut", NORMAL, variant).sample("defect", seeds) for seeds in ([3, 9], [9]))
    assert np.array_equal(a[1].image, b[0].image)
    assert not np.array_equal(a[0].image, a[1].image)


def test_an_unknown_variant_is_named():
    with pytest.raises(ConfigError, match="must be patch or scar, got 'dot'"):
        CutPaste("nut", NORMAL, "dot")
