from __future__ import annotations

import cv2
import numpy as np

from defect_synth.benchmark.report.gallery import write_gallery
from tests.benchmark.squares import squares


def test_the_gallery_shows_the_nearest_real_image(tmp_path):
    base = squares(9, 1, "base")
    synthetic = squares(9, 5, "synthetic")
    synthetic.images[0] = base.images[6]  # a copy, of the same class
    shown = write_gallery(synthetic, base, tmp_path / "a.png")
    assert shown.defects == ("crack", "crack", "cut", "cut", "hole", "hole")
    assert shown.distances[0] == 0
    assert min(shown.distances[1:]) > 1
    picture = cv2.imread(str(tmp_path / "a.png"))
    tile, nearest = picture[:128, :128], picture[264:392, :128]
    assert np.array_equal(tile, nearest)
    assert not np.array_equal(picture[:128, 132:260], picture[264:392, 132:260])
