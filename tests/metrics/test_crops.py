import numpy as np

from defect_synth.metrics.crops import crop_defects, crop_window


def box(rows, columns, shape=(64, 64)):
    mask = np.zeros(shape, np.uint8)
    mask[slice(*rows), slice(*columns)] = 1
    return mask


def test_window_is_a_square_with_half_a_defect_around_it():
    assert crop_window(box((20, 30), (30, 50))) == (5, 20, 40)  # 20 wide: side 40, centre (25, 40)


def test_window_stays_inside_the_image():
    assert crop_window(box((0, 10), (54, 64))) == (0, 44, 20)
    assert crop_window(box((0, 64), (0, 64))) == (0, 0, 64)


def test_window_of_a_tiny_defect_is_not_smaller_than_an_eighth():
    assert crop_window(box((10, 11), (10, 11))) == (6, 6, 8)


def test_window_without_a_defect_is_the_middle():
    assert crop_window(box((0, 0), (0, 0), shape=(40, 64))) == (0, 12, 40)


def test_crops_show_the_defect_at_one_size():
    image = np.zeros((1, 64, 64, 3), np.uint8)
    mask = box((20, 30), (30, 40))[None]
    image[mask == 1] = 200

    crops, masks = crop_defects(image, mask, 40)  # a window of 20 pixels, twice as large

    assert crops.shape == (1, 40, 40, 3)
    assert masks[0].sum() == 20 * 20
    assert (crops[0, 12:28, 12:28] == 200).all()
    assert crops[0, :8].max() == 0
