from __future__ import annotations

import numpy as np
import pytest

from defect_synth.datasets.class_balance import apportion, class_shares, interleave
from defect_synth.errors import ConfigError


def test_apportion_adds_up_and_follows_the_shares():
    assert apportion(np.array([0.3, 0.7]), 10).tolist() == [3, 7]
    assert apportion(np.full(3, 1 / 3), 4).tolist() == [2, 1, 1]
    assert apportion(np.array([0.0, 1.0]), 5).tolist() == [0, 5]


def test_interleave_spreads_every_number():
    assert interleave(np.array([2, 2, 2])).tolist() == [0, 1, 2, 0, 1, 2]
    assert interleave(np.array([1, 4, 0])).tolist() == [1, 1, 0, 1, 1]


def test_shares_are_equal_or_in_proportion_to_the_weights():
    assert class_shares(None, ("a", "b")).tolist() == [0.5, 0.5]
    assert class_shares({"b": 3, "a": 1}, ("a", "b")).tolist() == [0.25, 0.75]
    with pytest.raises(ConfigError, match="weights must name exactly a, b; got a"):
        class_shares({"a": 1}, ("a", "b"))
