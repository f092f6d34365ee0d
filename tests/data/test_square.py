import cv2
import numpy as np
import pytest

from defect_synth.data.square import SquareFit, fit_to_square, limit_size
from tests.fake_data import fake_nut

RGB = np.random.default_rng(5).integers(0, 256, (20, 30, 3)).astype(np.uint8)
BLOB = np.zeros((20, 30), np.uint8)
BLOB[5:12, 8:20] = 1


def test_square_of_the_right_size_is_untouched() -> None:
    image, mask = fake_nut(np.random.default_rng(1), 64, "cut")
    fitted, fitted_mask, placement = fit_to_square(image, mask, 64, "letterbox")
    assert np.array_equal(fitted, image)
    assert np.array_equal(fitted_mask, mask)
    assert placement == SquareFit("letterbox", (64, 64), 64, 1.0, (0, 0))


def test_shrinking_averages_areas() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[0], [100]], [[40], [60]]]
    assert fit_to_square(image, None, 2, "letterbox")[0][0, 0].tolist() == [50, 50, 50]


def test_letterbox_keeps_the_aspect_and_repeats_the_edge() -> None:
    image, mask, placement = fit_to_square(RGB, BLOB, 60, "letterbox")  # 20 x 30 -> 40 x 60
    assert (placement.scale, placement.offset, placement.scaled) == (2.0, (10, 0), (40, 60))
    assert (image[:10] == image[10]).all()
    assert (image[50:] == image[49]).all()
    assert mask.sum() == pytest.approx(4 * BLOB.sum(), rel=0.05)
    assert not mask[:10].any()


def test_letterbox_continues_a_defect_that_touches_the_border() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[:4, 3:6] = 1
    image = np.repeat((200 - 150 * mask)[:, :, None], 3, axis=2).astype(np.uint8)
    fitted, fitted_mask, _ = fit_to_square(image, mask, 30, "letterbox")
    assert np.array_equal(fitted_mask == 1, fitted[:, :, 0] == 50)
    assert fitted_mask[0].any()


def test_crop_takes_the_middle_of_a_good_image() -> None:
    image, mask, placement = fit_to_square(RGB, None, 20, "crop")
    assert placement.offset == (0, -5)
    assert np.array_equal(image, RGB[:, 5:25])
    assert not mask.any()


@pytest.mark.parametrize(("columns", "left"), [((1, 3), 1), ((26, 29), 9), ((8, 20), 5), ((6, 29), 7)])
def test_crop_moves_no_further_than_the_defect_needs(columns: tuple[int, int], left: int) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:8, slice(*columns)] = 1
    image, cropped, placement = fit_to_square(RGB, mask, 20, "crop")
    assert placement.offset == (0, -left)
    assert np.array_equal(image, RGB[:, left : left + 20])
    assert np.array_equal(cropped, mask[:, left : left + 20])


def test_mask_is_cut_at_half_coverage() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:5, :8] = 1  # in halves: rows 0 and 1 full, row 2 half covered
    assert fit_to_square(np.zeros((8, 8, 3), np.uint8), mask, 4, "letterbox")[1].tolist() == [
        [1] * 4,
        [1] * 4,
        [1] * 4,
        [0] * 4,
    ]


def test_a_thin_crack_keeps_its_area_instead_of_vanishing() -> None:
    mask = np.zeros((900, 900), np.uint8)
    cv2.line(mask, (100, 150), (700, 800), 1, 1)
    fitted = fit_to_square(np.zeros((900, 900, 3), np.uint8), mask, 128, "letterbox")[1]
    expected = mask.sum() * (128 / 900) ** 2
    assert (cv2.resize(mask.astype(np.float32), (128, 128), interpolation=cv2.INTER_AREA) >= 0.5).sum() == 0
    assert expected <= fitted.sum() <= 1.5 * expected


def test_a_speck_beside_a_large_defect_is_not_lost() -> None:
    mask = np.zeros((256, 256), np.uint8)
    mask[20:120, 20:120] = 1
    mask[201, 201] = 1
    fitted = fit_to_square(np.zeros((256, 256, 3), np.uint8), mask, 64, "letterbox")[1]
    assert fitted[50, 50] == 1
    assert fitted.sum() == 25 * 25 + 1


@pytest.mark.parametrize("how", ["letterbox", "crop"])
@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (50, 50)])
def test_restore_brings_a_mask_back_to_its_place(how, shape: tuple[int, int]) -> None:
    mask = np.zeros(shape, np.uint8)
    mask[20:36, 22:40] = 1
    _, fitted, placement = fit_to_square(np.zeros((*shape, 3), np.uint8), mask, 100, how)
    restored = placement.restore(fitted)
    assert (restored.shape, restored.dtype) == (shape, np.uint8)
    overlap = (restored & mask).sum() / (restored | mask).sum()
    assert overlap > 0.9


def test_restore_inverts_letterbox_without_scaling() -> None:
    fitted, _, placement = fit_to_square(RGB, None, 30, "letterbox")
    assert np.array_equal(placement.restore(fitted), RGB)


def test_restore_shows_the_original_where_a_crop_cut_away() -> None:
    fitted, _, placement = fit_to_square(RGB, None, 20, "crop")
    inverted = 255 - fitted
    restored = placement.restore(inverted, outside=RGB)
    assert np.array_equal(restored[:, 5:25], 255 - RGB[:, 5:25])
    assert np.array_equal(restored[:, :5], RGB[:, :5])
    assert not placement.restore(inverted)[:, 25:].any()


def test_restore_refuses_another_size() -> None:
    with pytest.raises(ValueError, match=r"expected \[20, 20, ...\], got \[10, 20, 3\]"):
        SquareFit("crop", (20, 30), 20, 1.0, (0, -5)).restore(np.zeros((10, 20, 3), np.uint8))


def test_shrinking_keeps_a_line_that_is_thinner_than_a_pixel_and_small_images_as_they_are():
    image, mask = np.zeros((60, 200, 3), np.uint8), np.zeros((60, 200), np.uint8)
    mask[30, 20:90] = 1

    small, seen = limit_size(image, mask, 40)

    assert small.shape == (12, 40, 3)
    assert seen.shape == (12, 40)
    assert seen.any()
    assert seen.max() == 1
    assert not limit_size(image, np.zeros_like(mask), 40)[1].any()
    assert limit_size(image, mask, 200)[0] is image
