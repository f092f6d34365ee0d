"""Masks on parts that lie anyhow: they go where the real ones are on the part, whatever its pose."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from defect_synth.product.foreground import find_foreground
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.pose import learn_poses
from defect_synth.product.shapes import DefectShape
from defect_synth.product.symmetry import Symmetry
from tests.fake_parts import PLACES, draw


@pytest.fixture(scope="module")
def screws():
    """Normal screws that lie anyhow, and a `MaskSource` of 8 defects of each of five kinds with its `PoseFinder`."""
    finder = learn_poses([(p.image, find_foreground(p.image)) for p in (draw("screw", seed) for seed in range(40))])
    shapes = {}
    for name in PLACES:
        shapes[name] = []
        for seed in range(8):
            part = draw("screw", seed, defect=name)
            pose = finder.find(part.image, find_foreground(part.image))
            shapes[name].append(DefectShape.of(part.mask, finder.expected(pose, part.mask.shape), pose))
    normals = [draw("screw", 2000 + seed) for seed in range(60)]
    found = [(part, find_foreground(part.image)) for part in normals]
    return MaskSource(shapes, Symmetry("any", aligned=False), looks_alike=finder.looks_alike), [
        (part, foreground, finder.find(part.image, foreground)) for part, foreground in found
    ]


def along(part, mask):
    ys, xs = np.nonzero(mask)
    return part.coordinates(float(ys.mean()), float(xs.mean()))


@pytest.mark.parametrize("defect", PLACES)
def test_defects_that_are_defined_by_their_place_are_put_there_on_parts_that_lie_anyhow(screws, defect):
    source, normals = screws
    made = [along(p, source.propose(defect, f, seed, pose=pose)) for seed, (p, f, pose) in enumerate(normals)]
    real = [along(p, p.mask) for p in (draw("screw", 5000 + seed, defect=defect) for seed in range(60))]
    again = [along(p, p.mask) for p in (draw("screw", 6000 + seed, defect=defect) for seed in range(60))]
    (us, vs), (real_us, real_vs), (again_us, _) = (np.array(points).T for points in (made, real, again))
    assert wasserstein_distance(us, real_us) <= wasserstein_distance(real_us, again_us) + 0.03
    assert wasserstein_distance(np.abs(vs), np.abs(real_vs)) <= 0.02


def test_scratches_keep_their_direction_on_the_part(screws):
    source, normals = screws
    tilted = []
    for seed, (part, foreground, pose) in enumerate(normals):
        mask = source.propose("scratch_neck", foreground, seed, pose=pose)
        ys, xs = np.nonzero(mask)
        along_axis = (xs - xs.mean()) * np.cos(part.angle) + (ys - ys.mean()) * np.sin(part.angle)
        across = (ys - ys.mean()) * np.cos(part.angle) - (xs - xs.mean()) * np.sin(part.angle)
        tilted.append(across.std() > along_axis.std())
    assert np.mean(tilted) < 0.05


def test_an_overhanging_defect_leaves_the_part_as_far_as_real_ones_do_and_never_floats(screws):
    source, normals = screws
    shares = []
    for seed, (_, foreground, pose) in enumerate(normals):
        mask = source.propose("bent_tip", foreground, seed, pose=pose)
        shares.append(float(foreground[mask > 0].mean()))
        count, labels = cv2.connectedComponents(mask)
        assert all((foreground & (labels == k)).any() for k in range(1, count))
        inside = source.propose("scratch_neck", foreground, seed, pose=pose)
        assert foreground[inside > 0].all()
    real = [shape.inside for shape in source.shapes["bent_tip"]]
    assert abs(np.mean(shares) - np.mean(real)) < 0.25


def test_an_unreliable_pose_is_not_used(screws):
    source, normals = screws
    _, foreground, pose = normals[0]
    doubtful = replace(pose, confidence=0.3)
    without = source.propose("scratch_head", foreground, 3)
    np.testing.assert_array_equal(source.propose("scratch_head", foreground, 3, pose=doubtful), without)
