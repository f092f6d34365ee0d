"""Arms that need no training."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np

from defect_synth.benchmark.arms import ARMS

_SIZES = ((60, 90), (84, 84), (120, 50))


def surface(size, rng):
    coarse = rng.normal(110, 12, (8, 8)).astype(np.float32)
    grain = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC) + rng.normal(0, 2, size)
    return np.repeat(grain.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_careful_paste_takes_defects_and_good_images_of_any_sizes():
    rng = np.random.default_rng(0)
    defects = []
    for size in _SIZES:
        image, mask = surface(size, rng), np.zeros(size, np.uint8)
        cv2.circle(mask, (size[1] // 2, size[0] // 2), 8, 1, -1)
        image[mask > 0] = 20
        defects.append((image, mask))
    context = SimpleNamespace(
        category="tile", defects=("pit",), full_size=lambda _: defects, resolution=32, how="letterbox",
        good_full_size=[surface(size, rng) for size in _SIZES],
    )  # fmt: skip

    samples = ARMS["real + careful paste"].source(context).sample("pit", range(12))

    assert {sample.image.shape for sample in samples} == {(32, 32, 3)}
    assert all(sample.mask.any() for sample in samples)
    assert {sample.provenance.parameters["good_image"] for sample in samples} == {0, 1, 2}
