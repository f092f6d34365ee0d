from __future__ import annotations

import numpy as np
import pytest
import torch

from defect_synth.samples import (
    content_digest,
    mask_to_pixels,
    pixels_to_mask,
    pixels_to_signal,
    pixels_to_unit,
    signal_to_pixels,
    unit_to_pixels,
)

ALL = np.arange(256, dtype=np.uint8)


def test_conversions_to_unit_and_back_agree_for_arrays_and_tensors():
    array, tensor = pixels_to_unit(ALL), pixels_to_unit(torch.from_numpy(ALL))
    assert array.dtype == np.float32
    assert tensor.dtype == torch.float32
    np.testing.assert_array_equal(array, tensor.numpy())
    assert (array[0], array[255]) == (0, 1)
    np.testing.assert_array_equal(unit_to_pixels(array), ALL)
    np.testing.assert_array_equal(unit_to_pixels(tensor).numpy(), ALL)


@pytest.mark.parametrize("values", [[-0.5, 0.0, 0.25, 1.0, 1.5]])
def test_values_outside_the_unit_range_are_clamped(values):
    assert unit_to_pixels(np.array(values)).tolist() == [0, 0, 64, 255, 255]
    assert unit_to_pixels(torch.tensor(values)).tolist() == [0, 0, 64, 255, 255]


def test_signal_inverts():
    assert torch.equal(signal_to_pixels(pixels_to_signal(torch.from_numpy(ALL))), torch.from_numpy(ALL))


def test_masks_are_0_and_255_in_files():
    mask = np.array([[0, 1]], np.uint8)
    assert mask_to_pixels(mask).tolist() == [[0, 255]]
    assert pixels_to_mask(np.array([[0, 127, 128, 255]], np.uint8)).tolist() == [[0, 0, 1, 1]]


def test_content_digest_depends_on_name_values_types_and_shapes():
    x = np.zeros((2, 3), np.uint8)
    digests = {content_digest("a", [each]) for each in (x, x + np.uint8(1), x.reshape(3, 2), x.astype(np.float32))}
    digests |= {content_digest("b", [x]), content_digest("a", [x, x])}
    assert len(digests) == 6


def test_content_digest_does_not_depend_on_the_memory_layout():
    x = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert content_digest("a", [x]) == content_digest("a", [np.asfortranarray(x)])
