"""Lines of a pixel or two, turned and pasted: as dark and as thin as they were recorded."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.compositor.image_region import ImageRegion
from defect_synth.compositor.paste import paste
from defect_synth.compositor.placement import Pose
from defect_synth.compositor.recorded_defect import RecordedDefect

GROUND, LINE = 150, 60


def scratched(width=1, paired=False, side=64):
    image = np.full((side, side, 3), GROUND, np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[20 : 20 + width, 12:52] = 1
    clean = image.copy() if paired else None
    image[mask > 0] = LINE
    return RecordedDefect(clean, image, mask), (20, 12, 20 + width, 52)


@pytest.mark.parametrize("angle", [17.0, 45.0, 73.0, 131.0])
@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize("paired", [False, True])
def test_a_turned_line_keeps_its_contrast_and_its_width(angle, width, paired):
    triplet, box = scratched(width, paired)
    image = np.full((64, 64, 3), GROUND, np.uint8)
    affine = Pose(angle, False, 1.0, (32.3, 31.6)).affine(box)
    patch = paste(image, triplet, box, affine, ImageRegion((64, 64)), severity=1.0, mode="auto", min_inside=0.0)
    assert patch is not None
    changed = GROUND - patch.pixels[patch.mask > 0][:, 0].astype(float)
    assert changed.mean() > 0.9 * (GROUND - LINE)
    # A line along the diagonal has as many pixels as columns: 0.71 of its length.
    assert 0.7 * triplet.mask.sum() <= patch.mask.sum() <= 1.25 * triplet.mask.sum()


def test_a_wide_defect_has_a_soft_edge():
    triplet, box = scratched(12)
    image = np.full((64, 64, 3), GROUND, np.uint8)
    affine = Pose(30.0, False, 1.0, (32.3, 31.6)).affine(box)
    patch = paste(image, triplet, box, affine, ImageRegion((64, 64)), severity=1.0, mode="replace", min_inside=0.0)
    assert patch is not None
    values = patch.pixels[patch.mask > 0][:, 0]
    assert (values <= LINE + 5).mean() > 0.5
    assert ((values > LINE + 10) & (values < GROUND - 10)).any()
