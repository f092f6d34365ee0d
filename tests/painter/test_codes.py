"""The random part of a painting."""

from __future__ import annotations

import numpy as np
import pytest

from defect_synth.painter.codes import fine_map


def test_fine_maps_have_unit_variance_and_no_size_of_their_own():
    rng = np.random.default_rng(0)

    maps = fine_map(lambda *shape: rng.standard_normal(shape, dtype=np.float32), 64, 32, 32)

    assert maps.shape == (64, 32, 32)
    assert maps.std() == pytest.approx(1.0, abs=0.1)
    near, far = ((maps[:, :, k:] * maps[:, :, :-k]).mean() / maps.var() for k in (1, 3))
    assert near > 0.5 > far > 0.1  # white noise has 0 and 0: beads of a grid's size along every thin mask
