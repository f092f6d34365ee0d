"""Images that several tests of the painter train on."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.painter.training_images import DefectImage, NormalImage
from tests.fake_data import fake_nut


@pytest.fixture(scope="session")
def nut_images():
    """Three normal images, and three of each of two defects."""
    rng = np.random.default_rng(0)
    normals = [NormalImage(fake_nut(rng, 64)[0], np.ones((64, 64), bool)) for _ in range(3)]
    return normals, {name: [DefectImage(*fake_nut(rng, 64, name)) for _ in range(3)] for name in ("hole", "cut")}
