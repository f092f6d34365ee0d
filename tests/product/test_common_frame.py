"""Parts carried into their common frame."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.product.arrangement import find_arrangement
from defect_synth.product.common_frame import CommonFrame
from defect_synth.product.foreground import find_foreground
from defect_synth.product.frame import ProductFrame, product_frame
from defect_synth.product.pose import Movement, Part, PartPose
from tests.fake_parts import draw


@pytest.fixture(scope="module")
def screws():
    drawn = [draw("screw", seed) for seed in range(12)]
    pairs = [(one.image, find_foreground(one.image)) for one in drawn]
    poses = find_arrangement(pairs).poses
    return poses, [poses.find_all(*pair)[0] for pair in pairs], drawn


def centre(mask):
    return np.array([float(k.mean()) for k in np.nonzero(mask)])


def test_long_parts_lie_across_the_picture_and_all_of_them_alike(screws):
    _, parts, drawn = screws
    frame = CommonFrame.around(parts, upright=False)
    height, width = frame.size(300)
    assert width == 300
    assert height < 150
    pictures = np.array([frame.carry(one.image, part.pose, 300) for one, part in zip(drawn, parts, strict=True)])
    assert pictures.shape == (12, height, width, 3)
    mean = pictures.mean(axis=0)
    alike = [np.corrcoef(picture.ravel(), mean.ravel())[0, 1] for picture in pictures]
    assert min(alike) > 0.8  # a screw that is turned over correlates by 0.4


def test_a_place_on_the_part_is_the_same_place_in_every_picture(screws):
    poses, parts, _ = screws
    frame = CommonFrame.around(parts, upright=False)
    places = []
    for seed in range(8):
        one = draw("screw", seed, defect="scratch_head")
        pose = poses.find(one.image, find_foreground(one.image))
        places.append(centre(frame.carry_mask(one.mask, pose, 300)))
    # Along the part they spread by 0.012 of its length of about 260 pixels.
    assert np.ptp(np.array(places)[:, 1]) < 15


def test_upright_parts_stay_as_they_are():
    image = np.full((100, 100, 3), 30, np.uint8)
    image[10:90, 40:60] = 200
    foreground = image[:, :, 0] > 100
    part = Part(PartPose(product_frame(foreground)), foreground)
    height, width = CommonFrame.around([part], upright=True).size(200)
    assert height == 200
    assert width < 100
    height, width = CommonFrame.around([part], upright=False).size(200)
    assert height < 100
    assert width == 200


def test_small_masks_do_not_vanish_and_what_is_beyond_the_image_has_the_given_level():
    frame = CommonFrame(Movement(), (0.0, 0.0), (2.0, 2.0))
    pose = PartPose(ProductFrame(200, 200, 100))  # the picture shows 0 to 400, the image ends at 300
    mask = np.zeros((300, 300), np.uint8)
    mask[250, 150] = 1
    seen = frame.carry_mask(mask, pose, 40)
    assert 1 <= seen.sum() <= 4
    assert np.abs(centre(seen) - (25, 15)).max() <= 1
    assert not frame.carry_mask(np.zeros_like(mask), pose, 40).any()
    picture = frame.carry(np.full((300, 300, 3), 90, np.uint8), pose, 40, outside=255)
    assert (picture[35:, :] == 255).all()
    assert (picture[:28, :28] == 90).all()
    assert (frame.carry(np.full((300, 300, 3), 90, np.uint8), pose, 40) == 90).all()


def test_the_turn_of_the_frame_and_the_pose_are_both_undone():
    frame = CommonFrame(Movement(np.pi / 2), (0.0, 0.0), (2.0, 2.0))
    mask = np.zeros((101, 101), np.uint8)
    mask[50, 70] = 1  # one radius to the right
    unmoved = frame.carry_mask(mask, PartPose(ProductFrame(50, 50, 20)), 80)
    turned_back = frame.carry_mask(mask, PartPose(ProductFrame(50, 50, 20), Movement(np.pi / 2)), 80)
    assert np.abs(centre(unmoved) - (19.5, 39.5)).max() < 1.5  # x of the frame points upwards after the turn
    assert np.abs(centre(turned_back) - (39.5, 59.5)).max() < 1.5
