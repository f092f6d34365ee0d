"""Where defects are put on a part that lies anyhow: by the pose of the part, and without poses.

python benchmarks/placement.py [--count 60]

Draws procedural screws at any angle, with defects that are defined by their place, and prints a table: position along
the axis of real ones and of proposed masks, and Wasserstein distances to other real ones. Deterministic.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # the parts are drawn by a file of the tests

from fake_parts import PLACES, DrawnPart, draw

from defect_synth.product.foreground import find_foreground
from defect_synth.product.mask_source import MaskSource
from defect_synth.product.pose import learn_poses
from defect_synth.product.shapes import DefectShape
from defect_synth.product.symmetry import find_symmetry

LEARNT, NORMALS = 8, 60
Positions = NDArray[np.float64]


def along_axis(part: DrawnPart, mask: NDArray[np.uint8]) -> float:
    """Position of the centre of a mask along the axis of its part."""
    ys, xs = np.nonzero(mask)
    return part.coordinates(float(ys.mean()), float(xs.mean()))[0]


def real_positions(defect: str, first: int, count: int) -> Positions:
    """Positions of drawn defects."""
    parts = [draw("screw", first + seed, defect=defect) for seed in range(count)]
    return np.array([along_axis(part, part.mask) for part in parts])


def quantiles(values: Positions) -> str:
    """10, 50 and 90 %."""
    return " ".join(f"{value:+.2f}" for value in np.quantile(values, (0.1, 0.5, 0.9)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60, help="Proposed and real masks of each defect.")
    count = parser.parse_args().count
    normals = [draw("screw", seed).image for seed in range(NORMALS)]
    finder = learn_poses([(image, find_foreground(image)) for image in normals])
    assert finder is not None
    symmetry = find_symmetry(normals)
    new = [draw("screw", 2000 + seed) for seed in range(count)]
    print("| defect | real, 10 50 90 % | with poses | without | W1 with | W1 without | W1 real to real |")
    print("|---|---|---|---|---|---|---|")
    for defect in PLACES:
        posed, plain = [], []
        for seed in range(LEARNT):
            part = draw("screw", 500 + seed, defect=defect)
            foreground = find_foreground(part.image)
            pose = finder.find(part.image, foreground)
            posed.append(DefectShape.of(part.mask, finder.expected(pose, part.mask.shape), pose))
            plain.append(DefectShape.of(part.mask, foreground))
        with_poses = MaskSource({defect: posed}, symmetry, looks_alike=finder.looks_alike)
        without = MaskSource({defect: plain}, symmetry)
        made: dict[bool, list[float]] = {True: [], False: []}
        for seed, part in enumerate(new):
            foreground = find_foreground(part.image)
            pose = finder.find(part.image, foreground)
            made[True].append(along_axis(part, with_poses.propose(defect, foreground, seed, pose=pose)))
            made[False].append(along_axis(part, without.propose(defect, foreground, seed)))
        real, other = real_positions(defect, 5000, count), real_positions(defect, 6000, count)
        a, b = np.array(made[True]), np.array(made[False])
        distances = [wasserstein_distance(x, real) for x in (a, b, other)]
        cells = [defect.replace("_", " "), *map(quantiles, (real, a, b)), *(f"{d:.3f}" for d in distances)]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
