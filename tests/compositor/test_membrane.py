from __future__ import annotations

import cv2
import numpy as np
import pytest

from defect_synth.compositor.membrane import membrane


def disc(side, share=0.35):
    inside = np.zeros((side, side), np.uint8)
    cv2.circle(inside, (side // 2, side // 2), round(share * side), 1, -1)
    return inside > 0


@pytest.mark.parametrize("side", [12, 60, 400])
def test_harmonic_values_around_a_mask_are_continued_into_it(side):
    inside = disc(side)
    y, x = np.mgrid[:side, :side] / side - 0.5
    wanted = np.stack([40 * x + 10, 60 * (x**2 - y**2), 80 * x * y], axis=2).astype(np.float32)  # each harmonic
    given = np.where(inside[..., None], np.float32(1e6), wanted)  # what is inside must not be read
    error = np.abs(membrane(given, inside) - wanted)[inside]
    assert error.mean() < 0.5
    assert error.max() < 2.5


def test_a_constant_stays_and_nothing_around_gives_nothing():
    inside = disc(200)
    flat = np.full((200, 200, 3), 7, np.float32)
    assert np.allclose(membrane(flat, inside)[inside], 7, atol=1e-3)
    assert not membrane(flat, np.ones((200, 200), bool)).any()


def test_a_mask_at_the_windows_border_takes_what_is_known():
    inside = np.zeros((120, 120), bool)
    inside[:80] = True
    flat = np.full((120, 120, 3), -5, np.float32)
    assert np.allclose(membrane(flat, inside)[inside], -5, atol=1e-2)


def test_a_large_defect_is_blended_in_a_fraction_of_the_time_of_seamless_clone():
    from time import thread_time

    inside = disc(600)
    rng = np.random.default_rng(0)
    target = cv2.GaussianBlur(rng.uniform(0, 255, (600, 600, 3)).astype(np.float32), (0, 0), 20)
    mask, picture = inside.astype(np.uint8) * 255, target.astype(np.uint8)

    def cost(call):
        times = []
        for _ in range(3):
            start = thread_time()
            call()
            times.append(thread_time() - start)
        return min(times)

    ours = cost(lambda: membrane(target, inside))
    assert ours < 0.5 * cost(lambda: cv2.seamlessClone(picture, picture, mask, (300, 300), cv2.NORMAL_CLONE))
