from dataclasses import replace

import numpy as np
import pytest

from defect_synth.errors import DataError
from defect_synth.metrics import collapse
from defect_synth.metrics.collapse import MaskStatistics

SIZE = 16


def boxes(*corners, side=4):
    """uint8 [len(corners), SIZE, SIZE] with one square each."""
    masks = np.zeros((len(corners), SIZE, SIZE), np.uint8)
    for mask, (row, column) in zip(masks, corners, strict=True):
        mask[row : row + side, column : column + side] = 1
    return masks


REAL = MaskStatistics.of(boxes((2, 2), (2, 10), (10, 2), (10, 10)))


def healthy():
    """2 objects with 3 defects each: images [2, 3, 16, 16, 3], masks [2, 3, 16, 16]."""
    masks = np.stack([boxes((2, 2), (6, 6), (10, 10)), boxes((4, 4), (2, 10), (10, 3))])
    images = np.full((2, 3, SIZE, SIZE, 3), 100, np.uint8)
    images[1] += 50
    images[masks == 1] = 20
    return images, masks


def advice(images, masks, real=REAL):
    return collapse.warnings(collapse.report(images, masks), real)


def test_area_quantiles_are_shares_of_the_image():
    masks = np.zeros((3, 10, 10), np.uint8)
    masks[1, :2] = 1
    masks[2] = 1
    q05, q50, q95 = collapse.area_quantiles(masks)
    assert (q05, q50, q95) == pytest.approx((0.02, 0.2, 0.92))
    assert collapse.empty_share(masks) == pytest.approx(1 / 3)
    assert collapse.full_share(masks) == pytest.approx(1 / 3)


def test_border_contact_counts_all_four_sides_and_no_inner_pixel():
    sides = boxes((0, 5), (12, 5), (5, 0), (5, 12))
    inner = boxes((1, 1), (11, 11))
    assert collapse.border_contact(sides) == 1
    assert collapse.border_contact(inner) == 0
    assert collapse.border_contact(np.concatenate([sides, inner])) == pytest.approx(4 / 6)


def test_mask_diversity_of_literal_masks():
    # overlaps of 4 x 4 squares: equal 16 of 16; shifted by two columns 8 of 24; apart 0
    assert collapse.mask_diversity(boxes((2, 2), (2, 2))[None]) == 0
    assert collapse.mask_diversity(boxes((2, 2), (2, 4))[None]) == pytest.approx(1 - 8 / 24)
    assert collapse.mask_diversity(boxes((2, 2), (10, 10))[None]) == 1
    assert collapse.mask_diversity(boxes((2, 2), (2, 2), (10, 10))[None]) == pytest.approx(2 / 3)
    assert collapse.mask_diversity(np.zeros((1, 2, SIZE, SIZE), np.uint8)) == 0


def test_mask_diversity_compares_only_masks_of_one_object():
    alike = np.stack([boxes((2, 2), (2, 2)), boxes((10, 10), (10, 10))])
    assert collapse.mask_diversity(alike) == 0


def test_image_diversity_is_the_difference_inside_the_union():
    masks = boxes((2, 2), (2, 4))[None]
    images = np.zeros((1, 2, SIZE, SIZE, 3), np.uint8)
    images[0, 1, 12:] = 255  # outside of both masks
    images[0, 0, 2:6, 2:4] = 240  # a third of the union
    assert collapse.image_diversity(images, masks) == pytest.approx(80)
    assert collapse.image_diversity(images[:, ::-1], masks[:, ::-1]) == pytest.approx(80)
    assert collapse.image_diversity(images, np.zeros_like(masks)) == 0


def test_object_diversity_compares_the_first_image_of_each_object():
    images = np.zeros((3, 2, 4, 4, 3), np.uint8)
    images[:, 1] = 200
    assert collapse.object_diversity(images) == 0
    images[2, 0] = 30
    assert collapse.object_diversity(images) == pytest.approx(20)


def test_statistics_of_real_masks():
    assert REAL.area_q50 == pytest.approx(16 / 256)
    assert replace(REAL, empty_share=0.0, full_share=0.0, border_contact=0.0, diversity=1.0) == REAL
    assert MaskStatistics.of(boxes((0, 0))).diversity == 0
    assert MaskStatistics.of(boxes((0, 0))).border_contact == 1
    with pytest.raises(DataError, match="at least 1 real mask, got 0"):
        MaskStatistics.of(np.zeros((0, 4, 4), np.uint8))


def test_report_has_every_figure_and_all_are_finite():
    report = collapse.report(*healthy())
    assert report["mask_area_q50"] == pytest.approx(16 / 256)
    assert report["empty_share"] == report["full_share"] == report["border_contact"] == 0
    assert report["mask_diversity"] > 0.9
    assert report["image_diversity"] > 50
    assert report["object_diversity"] > 30
    blank = collapse.report(*(np.zeros_like(array) for array in healthy()))
    assert all(np.isfinite(value) and type(value) is float for value in blank.values())


def test_good_samples_give_no_warning():
    assert advice(*healthy()) == ()


def test_empty_masks_give_one_warning_that_names_the_setting_to_lower():
    images, masks = healthy()
    (text,) = advice(images, np.zeros_like(masks))
    assert text.startswith("100% of the masks are empty (real: 0%)")
    assert "lower transfer.lambda_match, for instance to 0.2" in text


def test_full_masks_give_one_warning():
    images, masks = healthy()
    (text,) = advice(images, np.ones_like(masks))
    assert text.startswith("100% of the masks cover the whole image (real: 0%)")
    assert "lambda_match" in text


def test_some_empty_masks_give_a_milder_warning():
    images, masks = healthy()
    masks[0, 0] = 0
    assert [text.split(":")[0] for text in advice(images, masks)] == ["17% of the masks are empty (real"]


def test_masks_at_the_border_give_a_warning_unless_real_ones_lie_there_too():
    images, masks = healthy()
    masks[:, :, 0, 3:6] = 1
    (text,) = advice(images, masks)
    assert text.startswith("100% of the masks touch the image border (real: 0%)")
    assert advice(images, masks, replace(REAL, border_contact=1.0)) == ()


def test_masks_much_larger_or_smaller_than_real_ones_give_a_warning():
    images, masks = healthy()
    (text,) = advice(images, masks, replace(REAL, area_q05=0.001, area_q50=0.005, area_q95=0.01))
    assert "masks larger than the defect" in text
    (text,) = advice(images, masks, replace(REAL, area_q05=0.3, area_q50=0.35, area_q95=0.4))
    assert "masks are shrinking" in text


def test_equal_masks_of_one_object_give_a_warning_about_mode_seeking():
    images, masks = healthy()
    masks[:] = masks[:, :1]
    (text,) = advice(images, masks)
    assert text.startswith("masks of different z_defect are alike (diversity 0.00, real masks 1.00)")
    assert "raise transfer.lambda_mode_seeking" in text


def test_defects_that_z_defect_does_not_change_give_a_warning():
    images, masks = healthy()
    images[:] = images[:, :1]
    (text,) = advice(images, masks)
    assert text.startswith("defects of different z_defect differ by 0.00 grey levels")


def test_equal_objects_give_a_warning():
    images, masks = healthy()
    images[1], masks[1] = images[0], masks[0]
    (text,) = advice(images, masks)
    assert text.startswith("images of different z_object differ by 0.00 grey levels")


def test_settings_named_in_advice_exist():
    from defect_synth.config import override
    from defect_synth.dfmgan.config import TrainConfig

    assert override(TrainConfig(), {"transfer.lambda_match": 0.2, "transfer.lambda_mode_seeking": 0.2})


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ((2, 2, 4, 4, 3), (2, 2, 4, 5), "images and masks must be"),
        ((4, 4, 4, 3), (4, 4, 4), "images and masks must be"),
        ((2, 1, 4, 4, 3), (2, 1, 4, 4), "K at least 2"),
        ((1, 2, 4, 4, 3), (1, 2, 4, 4), "at least 2 objects, got 1"),
    ],
)
def test_ungrouped_samples_are_refused(images, masks, message):
    with pytest.raises(ValueError, match=message):
        collapse.report(np.zeros(images, np.uint8), np.zeros(masks, np.uint8))
