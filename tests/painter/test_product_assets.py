"""What a painter knows of its product."""

from __future__ import annotations

import numpy as np

from defect_synth.painter.product_assets import is_grey
from tests.fake_bolts import bolt


def test_greyness_forgives_what_compression_leaves():
    image = bolt(0)[0]
    coloured = image.copy()
    coloured[50:56, 50:56, 0] = 255

    assert is_grey(image)
    assert is_grey((image.astype(int) + np.array([0, 2, 1])).clip(0, 255).astype(np.uint8))
    assert not is_grey(coloured)
