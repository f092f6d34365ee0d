import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from defect_synth.errors import DataError
from defect_synth.metrics.agreement import change_agreement, contrast_agreement, mask_change, outline_contrast


def square(size=32, low=8, high=16):
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = 1
    return mask


def test_change_inside_and_outside_of_literal_images():
    mask = square()
    clean = np.full((32, 32, 3), 100, np.uint8)
    image = clean.copy()
    image[mask == 1] = [130, 100, 70]

    inside, outside, auc = mask_change(image, clean, mask)

    assert (inside, outside, auc) == (20.0, 0.0, 1.0)
    image[0, :] = [100, 100, 160]  # 32 of 960 pixels outside change as much as those inside
    inside, outside, auc = mask_change(image, clean, mask)
    assert outside == pytest.approx(20 * 32 / 960)
    assert auc == pytest.approx(1 - 0.5 * 32 / 960)


def test_a_mask_beside_its_defect_has_an_auc_below_one_half():
    mask, clean = square(), np.full((32, 32, 3), 100, np.uint8)
    image = clean.copy()
    image[20:28, 20:28] = 0
    assert mask_change(image, clean, mask)[2] == pytest.approx(0.5 - 0.5 * 64 / 960)


def test_auc_agrees_with_counting_every_pair_and_with_scikit_learn():
    rng = np.random.default_rng(0)
    image, clean = rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8) // 64 * 64
    mask = square(8, 2, 6)
    score = np.abs(image.astype(int) - clean).sum(axis=2)
    pairs = score[mask == 1][:, None] - score[mask == 0][None]
    auc = mask_change(image, clean, mask)[2]
    assert auc == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    assert auc == pytest.approx(roc_auc_score(mask.ravel(), score.ravel()), abs=1e-12)


@pytest.mark.parametrize("value", [0, 1])
def test_empty_and_full_masks_give_nan(value):
    mask, image = np.full((16, 16), value, np.uint8), np.zeros((16, 16, 3), np.uint8)
    assert all(np.isnan(mask_change(image, image, mask)))
    assert np.isnan(outline_contrast(image, mask))


def test_outline_contrast_of_literal_images():
    mask = square()
    image = np.full((32, 32, 3), 100, np.uint8)
    assert outline_contrast(image, mask) == 0
    image[mask == 1] = [104, 103, 100]  # 5 levels away, nothing varies within: d = 5 / (0 + 1)
    assert outline_contrast(image, mask) == pytest.approx(5 / 6)


def test_outline_contrast_is_lower_for_a_mask_that_is_too_large():
    rng = np.random.default_rng(0)
    image = (rng.normal(100, 8, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    image[20:40, 20:40] = 30
    assert outline_contrast(image, square(64, 20, 40)) > 0.7
    assert outline_contrast(image, square(64, 12, 48)) < 0.3


def test_nan_is_left_out_and_the_interval_contains_the_mean():
    nothing = [np.nan] * 3
    found = change_agreement(np.array([[30, 1, 1.0], nothing, [10, 3, 0.8], [20, 2, 0.9]]))
    assert (found.inside, found.outside, found.images) == (20, 2, 3)
    assert found.auc == pytest.approx(0.9)
    assert 0.8 <= found.low < 0.9 < found.high <= 1
    assert change_agreement(np.array([[30, 1, 1.0]]), seed=1).low == 1


def test_contrast_is_compared_with_real_masks():
    found = contrast_agreement(np.array([0.2, np.nan, 0.3, 0.4]), np.array([0.5, 0.6, 0.7]))
    assert (found.generated, found.real) == pytest.approx((0.3, 0.6))
    assert found.ratio == pytest.approx(0.5)
    assert 0.2 / 0.7 <= found.low < 0.5 < found.high <= 0.4 / 0.5


def test_images_without_usable_masks_are_refused():
    with pytest.raises(DataError, match="at least 1 mask that is neither empty nor full, got 0"):
        change_agreement(np.full((2, 3), np.nan))
    with pytest.raises(DataError, match="at least 1 generated and 1 real mask"):
        contrast_agreement(np.array([np.nan]), np.array([0.5]))
