"""Likeness of masks, whatever their pose and size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.product.likeness import KnownMasks, descriptors, likeness
from defect_synth.product.shapes import DefectShape


def hook(angle=0, size=1.0, mirrored=False):
    """An L with arms of different lengths."""
    mask = np.zeros((160, 160), np.uint8)
    mask[40:120, 60:75] = mask[105:120, 60:100] = 1
    turn = cv2.getRotationMatrix2D((79.5, 79.5), angle, size)
    return cv2.warpAffine(mask[:, ::-1] if mirrored else mask, turn, (160, 160), flags=cv2.INTER_NEAREST)


def shape(mask):
    return DefectShape.of(mask, np.ones(mask.shape, bool))


def disc(radius):
    return cv2.circle(np.zeros((160, 160), np.uint8), (80, 80), radius, 1, -1)


@pytest.mark.parametrize("moved", [hook(45), hook(100, 0.7), hook(210, mirrored=True), hook(30, 1.2, mirrored=True)])
def test_a_moved_copy_is_alike(moved):
    assert likeness(moved, descriptors([shape(hook())])) > 0.75


def test_other_shapes_are_not():
    assert likeness(disc(30), descriptors([shape(hook())])) < 0.5


def test_a_copy_of_the_only_real_mask_is_in_excess():
    known = KnownMasks.of([shape(hook())])

    assert known.excess(hook(30)) > 0
    assert known.excess(disc(30)) == 0


def test_real_masks_that_are_alike_raise_the_limit():
    assert KnownMasks.of([shape(disc(30)), shape(disc(40))]).limits.min() > 0.9
    assert (KnownMasks.of([shape(disc(30)), shape(hook())]).limits == 0.8).all()
